/** What a person puts on a host so that the server may pull from it: lines for `authorized_keys`, word for word. */
import path from "node:path";
import type { PullSettings } from "../../fleet/pulls.ts";
import { BACKUP_CONF } from "./backup-conf.ts";
import type { PullKeys } from "./pull-files.ts";
import { fingerprintOf } from "./pull-ssh.ts";

export interface PullInstallation {
  readonly login: string;
  readonly port: number;
  /** Of the keys that the host showed: `SHA256:… (ssh-ed25519)`. */
  readonly fingerprints: readonly string[];
  /** On this machine, to be copied to `gatePath` there. */
  readonly gateFile: string;
  readonly gatePath: string;
  /** Undefined where the gate cannot take the paths: they have characters that it refuses. */
  readonly gateLine: string | undefined;
  /** With the `rrsync` that comes with rsync, in place of the gate. */
  readonly rrsyncLine: string;
  /** For a forced command of their own; the key alone. */
  readonly key: string;
  /** Where the host lists its own paths: lets the server read that list. */
  readonly pathsLine: string | undefined;
  /** For sudoers(5), where the login is not root. */
  readonly sudoLine: string | undefined;
}

const GATE_FILE = path.resolve(import.meta.dirname, "../../../bin/holdfast-gate");
const GATE_PATH = "/usr/local/bin/holdfast-gate";

/** `paths` are the policy's; they do not matter where the host lists its own. */
export function installationOf(pull: PullSettings, keys: PullKeys, paths: readonly string[]): PullInstallation {
  const isRoot = pull.login.startsWith("root@");
  const user = pull.login.includes("@") ? pull.login.slice(0, pull.login.lastIndexOf("@")) : undefined;
  const listed = pull.pathsFrom === "host" ? [] : paths;
  const gate = [GATE_PATH, ...(isRoot ? [] : ["--sudo"]), ...listed].join(" ");
  const key = `${keys.sshKey} holdfast-pull`;
  return {
    login: pull.login,
    port: pull.port,
    fingerprints: pull.hostKeys.map((hostKey) => `${fingerprintOf(hostKey)} (${hostKey.split(" ")[0]})`),
    gateFile: GATE_FILE,
    gatePath: GATE_PATH,
    gateLine: listed.every(gateTakes) ? `restrict,command="${gate}" ${key}` : undefined,
    rrsyncLine: `restrict,command="rrsync -ro /" ${key}`,
    key,
    pathsLine:
      pull.pathsFrom === "host" ? `restrict,command="cat ${BACKUP_CONF}" ${keys.pathsKey} holdfast-paths` : undefined,
    sudoLine: isRoot ? undefined : `${user ?? "USER"} ALL=(root) NOPASSWD: /usr/bin/rsync --server --sender *`,
  };
}

/** See `bin/holdfast-gate`: it compares words, and lets no character through that a shell could make something of. */
export function gateTakes(wanted: string): boolean {
  return /^[A-Za-z0-9_.,:=@%+/-]+$/.test(wanted);
}
