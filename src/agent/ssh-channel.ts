import { spawn } from "node:child_process";
import { Readable } from "node:stream";
import { ConnectionError, errnoOf, messageOf, RefusedError } from "../errors.ts";
import { sshOptionPath } from "../fleet/ssh-option-path.ts";
import { fastCipherOptions } from "../platform/ssh-cipher.ts";
import type { ByteChannel } from "../wire/connection.ts";

/** How an agent reaches its server; written when the host is set up. */
export interface ServerPlace {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The host's own private key, for this and nothing else. */
  readonly identityFile: string;
  /** Knows the server's host key and no other. */
  readonly knownHostsFile: string;
}

const KEPT_MESSAGE_CHARACTERS = 2000;

/** What is asked of sshd. The forced command takes no notice of it but to refuse everything else. */
const WIRE_COMMAND = "holdfast-wire";

/** Arguments for `ssh`: nothing of the user's own settings counts, and nobody is asked anything. */
export function sshArguments({ host, port, user, identityFile, knownHostsFile }: ServerPlace): string[] {
  const options = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=yes",
    `UserKnownHostsFile=${sshOptionPath(knownHostsFile)}`,
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "PreferredAuthentications=publickey",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ControlMaster=no",
    "ControlPath=none",
    // What is sent is compressed and sealed already.
    "Compression=no",
    "RequestTTY=no",
    "IPQoS=throughput",
  ];
  const flags = options.map((option) => `-o${option}`);
  const identity = `-oIdentityFile=${sshOptionPath(identityFile)}`;
  return ["-F/dev/null", "-T", ...flags, identity, `-p${port}`, `-l${user}`, "--", host, WIRE_COMMAND];
}

/**
 * Starts `ssh` to the server. When it fails, the channel breaks with a `ConnectionError` that says what ssh said.
 * `command` stands in for `ssh` in tests.
 */
export function openSshChannel(place: ServerPlace, command: readonly string[] = ["ssh"]): ByteChannel {
  const [program, ...before] = command;
  // In a process group of its own: Ctrl-C on a terminal is for the agent, which ends the run in order.
  const args = [...before, ...sshArguments(place)];
  const child = spawn(program, [...fastCipherOptions(program, args), ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let messages = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    messages = (messages + chunk).slice(-KEPT_MESSAGE_CHARACTERS);
  });
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => {
      if (errnoOf(error) === "ENOENT") messages = NO_SSH;
      resolve(messageOf(error));
    });
    child.on("close", (code, signal) => {
      resolve(signal === null ? `ssh ended with code ${code}` : `ssh was ended by ${signal}`);
    });
  });

  async function* output(): AsyncGenerator<Buffer> {
    yield* child.stdout as AsyncIterable<Buffer>;
    const problem = await ended;
    const said = messages.trim().split("\n").at(-1) ?? "";
    const Failure = isFinal(messages) ? RefusedError : ConnectionError;
    throw new Failure(`${place.host}: ${said === "" ? problem : printable(said)}`, { hint: hintFor(messages) });
  }

  const input = Readable.from(output(), { objectMode: false });
  return {
    input,
    output: child.stdin,
    destroy: () => {
      child.stdin.destroy();
      input.destroy();
      child.kill("SIGTERM");
    },
  };
}

const NO_SSH = "there is no program ssh on this machine";

/** To try again would not help: the server does not know the key, or is not the one it was; or there is no ssh. */
function isFinal(messages: string): boolean {
  return /Permission denied \(|Host key verification failed/.test(messages) || messages === NO_SSH;
}

function hintFor(messages: string): string {
  if (messages.includes("Host key verification failed") || messages.includes("IDENTIFICATION HAS CHANGED")) {
    return 'the server shows another key than the one it had: if that is right, "holdfast agent setup" with --host-key';
  }
  if (messages === NO_SSH) return "install OpenSSH's client: Debian's package openssh-client";
  if (messages.includes("Permission denied")) return "the server does not know this host's key: was it removed there?";
  return "is the server up, and can this machine reach it?";
}

function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, "?");
}
