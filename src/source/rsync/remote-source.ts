import type { RawPath } from "../../platform/raw-path.ts";
import { compileExcludes } from "../local/exclude-patterns.ts";
import { allExcluded } from "../all-excluded.ts";
import type { ReportProblem, Source, SourceEntry } from "../source.ts";
import { excludingSource, remoteFilters } from "./excluding-source.ts";
import type { Basis } from "./protocol/basis.ts";
import type { PullProfile } from "./remote-command.ts";
import type { RemotePlaces } from "./remote-places.ts";
import type { RemoteProcess, RemoteShell } from "./remote-process.ts";
import { openRsyncSource } from "./rsync-source.ts";
import type { RsyncTraffic } from "./rsync-source.ts";

export interface RemoteSourceOptions {
  readonly places: RemotePlaces;
  readonly shell: RemoteShell;
  /** The other rsync, where it was started already (`startPull`), with the profile that is tried first. */
  readonly started?: RemoteProcess | undefined;
  readonly excludes: readonly string[];
  readonly excludesIgnoringCase: readonly string[];
  readonly excludeLargerThanBytes: number | undefined;
  readonly oneFileSystem: boolean;
  readonly compress: boolean;
  /** By default all is asked for, and the plainest form where that is refused. */
  readonly profile?: PullProfile | undefined;
  /** How long the login may take; by default long enough for a person to type a password. */
  readonly greetingMs?: number | undefined;
  /** The last version of a file, so that only what has changed in it must travel. */
  readonly previous: (path: RawPath) => Promise<Basis | undefined> | undefined;
  /** Ends the opening: nobody wants the source any more. */
  readonly signal?: AbortSignal | undefined;
  readonly onProblem: ReportProblem;
}

export interface RemoteSource extends Source {
  /** What was asked for: "plain" lacks hard links, ACLs and extended attributes. */
  readonly profile: PullProfile;
  readonly traffic: () => RsyncTraffic;
}

/** What another host shows through `rsync` over ssh, without what is to be left out. Errors: see `openRsyncSource`. */
export async function openRemoteSource(options: RemoteSourceOptions): Promise<RemoteSource> {
  const { places } = options;
  const source = await openRsyncSource({
    remote: { shell: options.shell, login: places.login },
    started: options.started,
    signal: options.signal,
    paths: places.wanted,
    oneFileSystem: options.oneFileSystem,
    compress: options.compress,
    ...(options.profile !== undefined && { profile: options.profile }),
    filters: remoteFilters(options.excludes),
    circumstances: JSON.stringify([options.excludes, options.excludesIgnoringCase, options.excludeLargerThanBytes]),
    greetingMs: options.greetingMs,
    previous: options.previous,
    onProblem: options.onProblem,
  });
  const exclusions = {
    isExcluded: compileExcludes({
      patterns: options.excludes,
      patternsIgnoringCase: options.excludesIgnoringCase,
    }),
    largerThanBytes: options.excludeLargerThanBytes ?? Number.POSITIVE_INFINITY,
  };
  const left = excludingSource(source, exclusions);
  return {
    ...left,
    entries: () => unlessOnlyAbove(places.paths, left),
    profile: source.profile,
    traffic: source.traffic,
  };
}

/**
 * The entries of a source. Throws `UsageError` at their end where they are nothing but folders above the paths. (Whether
 * they lie at the paths does not matter: a forced command may show what it likes.)
 */
async function* unlessOnlyAbove(paths: readonly RawPath[], source: Source): AsyncGenerator<readonly SourceEntry[]> {
  const wanted = paths.map((path) => path.replace(/^\/+/, ""));
  const isAbove = ({ path }: SourceEntry): boolean =>
    wanted.every((top) => top !== "") && (path === "" || wanted.some((top) => top.startsWith(`${path}/`)));
  let isOnlyAbove = true;
  for await (const batch of source.entries()) {
    isOnlyAbove &&= batch.every(isAbove);
    yield batch;
  }
  if (isOnlyAbove) throw allExcluded();
}
