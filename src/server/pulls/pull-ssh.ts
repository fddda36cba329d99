/** How the server calls `ssh` to reach hosts that it pulls from: nobody is asked anything, and only what is pinned counts. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { isIPv6 } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { ConnectionError, UsageError } from "../../errors.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { sshOptionPath } from "../../fleet/ssh-option-path.ts";
import { parseRemotePath } from "../../source/rsync/remote-path.ts";
import type { RemoteShell } from "../../source/rsync/remote-process.ts";
import { keepKnownHosts, pullFile } from "./pull-files.ts";

const CONNECT_SECONDS = 20;
/** Nobody types a password: so long a login may take until the rsync there speaks. */
export const UNATTENDED_GREETING_MS = 2 * 60 * 1000;

export interface SshRequest {
  readonly dataFolder: string;
  /** Name of the host, under which its key is pinned. */
  readonly host: string;
  readonly pull: Pick<PullSettings, "login" | "port" | "identityFile" | "hostKeys">;
}

/** The login of `--pull`, as ssh takes it: also as this gives it, with an IPv6 address bare. Throws `UsageError`. */
export function parseLogin(text: string): string {
  const host = text.slice(text.lastIndexOf("@") + 1);
  const written = isIPv6(host) ? `${text.slice(0, -host.length)}[${host}]` : text.replace(/:$/, "");
  const place = /^[\p{L}\p{N}_.%+@[\]:-]+$/u.test(written) ? parseRemotePath(`${written}:`) : undefined;
  if (place?.path === "") return place.login;
  throw new UsageError(`${JSON.stringify(text)} is no login`, { hint: "write USER@HOST, as for ssh: root@web1" });
}

/** `ssh` and its options for a host, with the key that may read files, or with the one that may read its paths. */
export function pullShell(request: SshRequest, key: "files" | "paths" = "files"): RemoteShell {
  const { dataFolder, host, pull } = request;
  const own = key === "files" ? pullFile.sshKey(dataFolder) : pullFile.pathsKey(dataFolder);
  const identity = key === "files" ? (pull.identityFile ?? own) : own;
  const known = keepKnownHosts(dataFolder, host, pull);
  return {
    command: [
      ...sshCommand(request, known),
      "-oStrictHostKeyChecking=yes",
      `-oIdentityFile=${sshOptionPath(identity)}`,
    ],
  };
}

function sshCommand({ dataFolder, host, pull }: SshRequest, knownHosts: string): string[] {
  const config = pullFile.sshConfig(dataFolder);
  const options = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    `UserKnownHostsFile=${sshOptionPath(knownHosts)}`,
    "GlobalKnownHostsFile=/dev/null",
    // Its key is pinned to its name here, whatever address it has.
    `HostKeyAlias=${host}`,
    "CheckHostIP=no",
    "HashKnownHosts=no",
    "UpdateHostKeys=no",
    `ConnectTimeout=${CONNECT_SECONDS}`,
    "ServerAliveInterval=30",
    "ServerAliveCountMax=6",
    "ClearAllForwardings=yes",
    "ControlMaster=no",
    "ControlPath=none",
    "RequestTTY=no",
  ];
  const flags = options.map((option) => `-o${option}`);
  return ["ssh", `-F${existsSync(config) ? config : "/dev/null"}`, "-x", "-a", "-T", ...flags, `-p${pull.port}`];
}

export interface SshAnswer {
  /** 255 where ssh itself failed, 124 where it took too long. */
  readonly exitCode: number;
  readonly output: Buffer;
  /** It said more than was wanted: the rest was not read. */
  readonly isCut: boolean;
  /** The last of what it said beside that, shown without control characters. */
  readonly complaints: string;
}

export interface SshLimits {
  readonly mostBytes: number;
  readonly timeoutMs: number;
}

const KEPT_COMPLAINTS = 4096;

/** Has a host do something, and hears what it answers, up to a bound. Never throws for what the host does. */
export function askHost(
  shell: RemoteShell,
  login: string,
  command: string,
  { mostBytes, timeoutMs }: SshLimits,
): Promise<SshAnswer> {
  return new Promise((resolve) => {
    const [program, ...args] = shell.command;
    const child = spawn(program, [...args, "--", login, command], { stdio: ["ignore", "pipe", "pipe"] });
    const parts: Buffer[] = [];
    let bytes = 0;
    let complaints = "";
    let isCut = false;
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdout.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= mostBytes) parts.push(chunk);
      else {
        isCut = true;
        child.kill("SIGKILL");
      }
    });
    child.stderr.on("data", (chunk: Buffer) => {
      complaints = (complaints + chunk.toString("utf8")).slice(-KEPT_COMPLAINTS);
    });
    child.on("error", (error) => (complaints = `ssh cannot be started: ${error.message}`));
    child.on("close", (code) => {
      clearTimeout(late);
      const exitCode = isLate ? 124 : (code ?? 255);
      resolve({
        exitCode,
        output: Buffer.concat(parts),
        isCut,
        complaints: printable(complaints.replace(/\r+\n/g, "\n")).trim(),
      });
    });
  });
}

/** Lines of somebody else's, safe to show. */
export function printable(text: string): string {
  return text.replace(/[^\P{C}\n]/gu, "?");
}

/** The last line that means something to a person. */
export function lastLine(complaints: string): string {
  const lines = complaints.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("** "));
  return lines.at(-1)?.trim() ?? "";
}

/**
 * The keys that the host's sshd shows now, to be pinned: nothing vouches for them but that the host was reached. Throws
 * `ConnectionError` where it is not to be reached.
 */
export async function seeHostKeys(request: Omit<SshRequest, "pull"> & { pull: Pick<PullSettings, "login" | "port"> }) {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-host-key-"));
  try {
    const known = path.join(folder, "known_hosts");
    const shell = {
      command: [...sshCommand({ ...request, pull: { hostKeys: [], ...request.pull } }, known), ...ONLY_THE_KEY],
    };
    const answer = await askHost(shell, request.pull.login, "true", { mostBytes: 4096, timeoutMs: 60_000 });
    const lines = existsSync(known) ? readFileSync(known, "utf8").split("\n") : [];
    const keys = lines.flatMap((line) => line.match(/^\S+ (\S+ [A-Za-z0-9+/]+={0,2})$/)?.[1] ?? []);
    if (keys.length > 0) return keys;
    const said = lastLine(answer.complaints);
    throw new ConnectionError(`${request.pull.login} cannot be reached by ssh${said === "" ? "" : `: ${said}`}`, {
      hint: "is its name right, is sshd running there, and may this machine reach its port?",
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const ONLY_THE_KEY = ["-oStrictHostKeyChecking=accept-new", "-oPubkeyAuthentication=no"];

/** As ssh shows it: `SHA256:…` of a public key `ssh-ed25519 AAAA…`. */
export function fingerprintOf(key: string): string {
  const hash = createHash("sha256").update(Buffer.from(key.split(" ")[1], "base64"));
  return `SHA256:${hash.digest("base64").replace(/=+$/, "")}`;
}
