/** What setting the server up as a service of systemd takes; nothing is done here. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { systemdQuoted } from "../fleet/systemd-quoted.ts";

export type InstallationStep =
  | { readonly does: string; readonly file: string; readonly content: string }
  | {
      readonly does: string;
      readonly command: readonly string[];
      /** True where it was done already. */
      readonly unless?: () => boolean;
      /** What to do where it fails. */
      readonly ifNot?: string;
    };

export interface InstallationRequest {
  readonly dataFolder: string;
  readonly user: string;
  readonly programFile: string;
}

export interface Installation {
  readonly steps: readonly InstallationStep[];
}

export const UNIT_FILE = "/etc/systemd/system/holdfast-server.service";
const COMMAND_FILE = "/usr/local/bin/holdfast";

export function planInstallation({ dataFolder, user, programFile }: InstallationRequest): Installation {
  return {
    steps: [
      {
        does: "a user of its own, without rights; hosts log in as it, and sshd lets them do nothing but save",
        // "*" is no password, and does not lock: of a locked account sshd without PAM takes no key either.
        command: words(`useradd --system --user-group --password * --shell /bin/sh --home-dir`, dataFolder, user),
        unless: () => isUser(user),
      },
      { does: "its data folder", command: ["install", "-d", "-m", "0700", "-o", user, "-g", user, dataFolder] },
      {
        does: "that user can run Holdfast where it lies",
        command: ["runuser", "-u", user, "--", programFile, "version"],
        ifNot: `put Holdfast where everybody may read it, such as /opt/holdfast, and install it from there`,
      },
      { does: "the service", file: UNIT_FILE, content: unitText({ dataFolder, user, programFile }) },
      {
        does: "the command, for administrators and for hosts that enrol",
        command: ["ln", "-s", programFile, COMMAND_FILE],
        unless: () => existsSync(COMMAND_FILE),
      },
      { does: "systemd reads it", command: ["systemctl", "daemon-reload"] },
      { does: "it starts with the machine", command: ["systemctl", "enable", "holdfast-server"] },
      { does: "and now; one that runs already, anew", command: ["systemctl", "restart", "holdfast-server"] },
    ],
  };
}

/** The words of a text, and then others as they are. */
function words(text: string, ...more: readonly string[]): string[] {
  return [...text.split(" "), ...more];
}

function isUser(name: string): boolean {
  try {
    execFileSync("id", ["-u", name], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** systemd.service(5), systemd.exec(5). */
export function unitText({ dataFolder, user, programFile }: InstallationRequest): string {
  return `[Unit]
Description=Holdfast backup server
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
User=${user}
Group=${user}
ExecStart=${systemdQuoted(programFile)} server --data ${systemdQuoted(dataFolder)}
Restart=on-failure
RestartSec=10
# Snapshots under way are waited for.
TimeoutStopSec=60
UMask=0077
Nice=5
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
# Not strict: the repository of an account may lie on any disc.
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
`;
}
