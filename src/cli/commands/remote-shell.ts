import { UsageError } from "../../errors.ts";
import { splitShellCommand } from "../../source/rsync/remote-command.ts";
import { openSsh, type RemoteShell } from "../../source/rsync/remote-process.ts";
import type { OptionValues } from "../command-spec.ts";
import type { backupSpec } from "./backup.spec.ts";

/** How the options say that another host is reached. */
export function remoteShell(
  options: Pick<OptionValues<typeof backupSpec.options>, "rsh" | "sshPort" | "sshIdentity">,
): RemoteShell {
  if (options.rsh !== undefined && (options.sshPort !== undefined || options.sshIdentity !== undefined)) {
    throw new UsageError(
      "--ssh-port and --ssh-identity are for the usual ssh, not for the one of --rsh or HOLDFAST_RSH",
      {
        hint: `give it its options yourself: --rsh "ssh -p 2222 -i FILE"`,
      },
    );
  }
  if (options.rsh !== undefined) return { command: splitShellCommand(options.rsh) };
  return openSsh({ port: options.sshPort, identityFile: options.sshIdentity });
}
