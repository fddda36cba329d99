import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atEnd } from "./at-end.ts";
import type { Cleanup } from "./at-end.ts";
import { runOk } from "./run-command.ts";
import { temporaryFolder } from "./temporary-folder.ts";

export interface SshServer {
  readonly port: number;
  /** Private key that may log in as the user who runs the tests. */
  readonly identityFile: string;
  /** Knows the server's host key and no other. */
  readonly knownHostsFile: string;
  /** For `ssh` and `sftp`: all that is needed to reach the server and nothing of the user's own settings. */
  readonly clientOptions: readonly string[];
  /** Replaces what the key may do, by a line for `authorized_keys` before the key: `restrict,command="…"`. */
  readonly restrictKey: (options: string) => void;
}

/** OpenSSH's own server on a port of loopback, with keys and settings of its own, until the test ends. */
export async function startSshServer(t: Cleanup): Promise<SshServer> {
  const folder = temporaryFolder(t, "holdfast-sshd-");
  chmodSync(folder, 0o700);
  const file = (name: string): string => path.join(folder, name);
  const port = await freePort();
  await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file("host_key")]);
  await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file("client_key")]);
  const clientPublicKey = readFileSync(file("client_key.pub"), "utf8");
  writeFileSync(file("authorized_keys"), clientPublicKey, { mode: 0o600 });
  writeFileSync(file("known_hosts"), `[127.0.0.1]:${port} ${readFileSync(file("host_key.pub"), "utf8")}`);
  writeFileSync(file("client_config"), "");
  writeFileSync(file("sshd_config"), serverConfiguration(folder, port));
  if (process.getuid?.() === 0 && !existsSync(PRIVILEGE_SEPARATION_FOLDER)) mkdirSync(PRIVILEGE_SEPARATION_FOLDER);

  const daemon = spawn(sshdPath(), ["-D", "-e", "-f", file("sshd_config")], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  daemon.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
  atEnd(t, async () => {
    if (daemon.exitCode !== null || daemon.signalCode !== null) return;
    daemon.kill("SIGTERM");
    await once(daemon, "exit");
  });
  await untilListening(port, () => {
    if (daemon.exitCode !== null) throw new Error(`sshd ended with ${daemon.exitCode}: ${log}`);
  });

  return {
    port,
    identityFile: file("client_key"),
    knownHostsFile: file("known_hosts"),
    clientOptions: [
      `-F${file("client_config")}`,
      `-i${file("client_key")}`,
      `-oPort=${port}`,
      `-oUserKnownHostsFile=${file("known_hosts")}`,
      "-oBatchMode=yes",
      "-oIdentitiesOnly=yes",
      "-oStrictHostKeyChecking=yes",
    ],
    restrictKey: (options) => {
      writeFileSync(file("authorized_keys"), `${options} ${clientPublicKey}`);
    },
  };
}

const PRIVILEGE_SEPARATION_FOLDER = "/run/sshd";

function serverConfiguration(folder: string, port: number): string {
  return [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${folder}/host_key`,
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    "PidFile none",
    // The temporary folder lies below /tmp, which others may write to.
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "Subsystem sftp internal-sftp",
    "LogLevel VERBOSE",
    "",
  ].join("\n");
}

/** sshd starts itself anew for each connection, so it must be called by its full path. */
function sshdPath(): string {
  return ["/usr/sbin/sshd", "/usr/bin/sshd"].find((file) => existsSync(file)) ?? "/usr/sbin/sshd";
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port of loopback to be had");
  return address.port;
}

async function untilListening(port: number, stillRuns: () => void): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    stillRuns();
    if (await accepts(port)) return;
    await sleep(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
