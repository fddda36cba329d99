/**
 * `holdfast serve --host NAME`: what sshd runs for a host's key. It hands the connection on to the server's socket, says
 * whose it is, and decides nothing. There is one for each connected host, so it is a program of its own that loads
 * nothing else. Where the host has come with a stock rsync, `serve-rsync.ts` answers it, in a process with more memory.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { rawEnvironment } from "../platform/raw-environment.ts";
import { socketAddress } from "../platform/socket-address.ts";

/** What agents ask sshd for. Whatever the forced command is, sshd tells us what was asked. */
const WIRE_COMMAND = "holdfast-wire";
const DEFAULT_SOCKET = "/run/holdfast/hosts.sock";

function fail(message: string): never {
  process.stderr.write(`holdfast: ${message}\n`);
  process.exit(1);
}

const { values } = parseArgs({
  args: process.argv.slice(process.argv[2] === "serve" ? 3 : 2),
  options: {
    host: { type: "string" },
    socket: { type: "string", default: process.env.HOLDFAST_SOCKET || DEFAULT_SOCKET },
  },
});
const { host, socket: socketPath } = values;
if (host === undefined) fail("serve needs --host NAME; it is run by sshd, for a host's key");

const asked = rawEnvironment("SSH_ORIGINAL_COMMAND");
if (asked !== undefined && /^(?:\S*\/)?rsync --server /.test(asked)) {
  const program = fileURLToPath(new URL("./serve-rsync.ts", import.meta.url));
  const child = spawn(process.execPath, [program, socketPath, host, asked], { stdio: "inherit" });
  for (const signal of ["SIGUSR1", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill("SIGTERM"));
  const [code] = (await once(child, "exit")) as [number | null];
  process.exit(code ?? 1);
}
if (asked !== WIRE_COMMAND) {
  const shown = asked === undefined ? "a shell" : JSON.stringify(asked.slice(0, 200));
  fail(`this key is for rsync and Holdfast's agent alone; it does not give ${shown}`);
}

function addressOf(file: string): string {
  try {
    return socketAddress(file).path;
  } catch (error) {
    return fail(`the server does not answer (${(error as Error).message})`);
  }
}

const socket = connect({ path: addressOf(socketPath), allowHalfOpen: true });
socket.once("error", (error) => fail(`the server does not answer (${error.message})`));
socket.once("connect", () => {
  socket.write(`${JSON.stringify({ host, from: process.env.SSH_CONNECTION ?? "" })}\n`);
  process.stdin.pipe(socket);
  socket.pipe(process.stdout);
});
// With the server gone there is nothing left to do, whatever the host still sends.
socket.once("end", () => process.stdout.end(() => process.exit(0)));
socket.once("close", () => process.exit(0));
process.stdout.on("error", () => process.exit(0));
process.stdin.on("error", () => socket.destroy());
