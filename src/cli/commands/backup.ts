/**
 * `backup`. To reach another host takes longer than to load what is needed here: its rsync is started first, and waits
 * until it is spoken to.
 */
import { parseRemotePlaces, type RemotePlaces } from "../../source/rsync/remote-places.ts";
import { startPull } from "../../source/rsync/start-pull.ts";
import type { RemoteProcess } from "../../source/rsync/remote-process.ts";
import type { Invocation } from "../command-spec.ts";
import type { backupSpec } from "./backup.spec.ts";
import { remoteShell } from "./remote-shell.ts";

/** Another host, with an rsync that is on its way to be spoken to, if all is well so far. */
export interface StartedHost {
  readonly places: RemotePlaces;
  readonly process: RemoteProcess | undefined;
}

export async function run(invocation: Invocation<typeof backupSpec.options>): Promise<number> {
  const started = startHost(invocation);
  try {
    const { runBackup } = await import("./backup-run.ts");
    return await runBackup(invocation, started);
  } finally {
    started?.process?.kill();
  }
}

function startHost({ context, args, options }: Invocation<typeof backupSpec.options>): StartedHost | undefined {
  if (options.stdin || options.stdinFromCommand) return undefined;
  const places = parseRemotePlaces(args);
  if (places === undefined) return undefined;
  // ssh may ask a person for a password: not where it is known already that nothing can come of it.
  const { repo, repositoryFile } = context.settings;
  if (repo === undefined && repositoryFile === undefined) return { places, process: undefined };
  const process = startPull(
    {
      remote: { shell: remoteShell(options), login: places.login },
      paths: places.wanted,
      oneFileSystem: options.oneFileSystem,
      compress: options.compressTransfer,
    },
    "full",
  );
  return { places, process };
}
