import type { Source } from "../source.ts";
import type { RemoteSource } from "./remote-source.ts";

/**
 * A source that is still being opened. Whoever asks for its entries waits for that, and is told where it fails; what else
 * there is to be done beforehand can be done meanwhile. `opening` is ended by `unwanted`, where the source is closed before.
 */
export function deferredSource(opening: Promise<RemoteSource>, unwanted: AbortController): Source {
  let opened: RemoteSource | undefined;
  opening.then(
    (source) => (opened = source),
    () => undefined,
  );

  function ready(): RemoteSource {
    if (opened === undefined) throw new Error("something was asked of a source that is not open yet");
    return opened;
  }

  return {
    async *entries() {
      yield* (await opening).entries();
    },
    tellsNoCtime: true,
    skip: (directory) => ready().skip?.(directory),
    details: (entry) => ready().details(entry),
    content: (entry) => ready().content(entry),
    owners: {
      user: (uid) => ready().owners?.user(uid) ?? "",
      group: (gid) => ready().owners?.group(gid) ?? "",
    },
    finish: async () => opened?.finish?.(),
    async close() {
      if (opened !== undefined) return opened.close();
      unwanted.abort();
      // It may have come to be open in this very moment.
      void opening.then(
        (late) => late.close(),
        () => undefined,
      );
    },
  };
}
