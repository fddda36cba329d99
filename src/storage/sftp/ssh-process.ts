import { spawn } from "node:child_process";
import { messageOf } from "../../errors.ts";
import { fastCipherOptions } from "../../platform/ssh-cipher.ts";
import type { SftpChannel } from "./session.ts";

export interface SshTarget {
  readonly host: string;
  readonly user: string | undefined;
  readonly port: number | undefined;
}

const KEPT_MESSAGE_CHARACTERS = 2000;
const LAST_WORDS_MS = 200;

/**
 * Starts the system's `ssh`, so that the user's keys, agent and settings count, and the SFTP server at its other end.
 * Further arguments go before the host. Fails by what `ended` says.
 */
export function startSsh({ host, user, port }: SshTarget, sshArguments: readonly string[]): SftpChannel {
  const login = [...(user === undefined ? [] : ["-l", user]), ...(port === undefined ? [] : ["-p", String(port)])];
  const options = [...sshArguments, ...KEEP_ALIVE, ...login];
  const cipher = fastCipherOptions("ssh", [...options, "--", host]);
  return channelToCommand(
    // Ctrl-C on a terminal reaches ssh as well, but what is being stored shall come to its end.
    ["sh", "-c", 'trap "" INT; exec "$@"', "sh", "ssh", ...options, ...cipher, "-s", "--", host, "sftp"],
    `ssh to ${host}`,
  );
}

/** A line that is dead is given up after a minute; without this, ssh would wait for days. */
const KEEP_ALIVE = ["-oServerAliveInterval=15", "-oServerAliveCountMax=4"];

/** Speaks SFTP with a program over its standard streams. `what` names it in messages. */
export function channelToCommand([command, ...args]: readonly string[], what: string): SftpChannel {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  let messages = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    messages = (messages + chunk).slice(-KEPT_MESSAGE_CHARACTERS);
  });
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(`${what}: ${messageOf(error)}`));
    child.on("exit", (code, signal) => {
      const ending = signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`;
      const tell = (): void => resolve(`${what}: ${messages.trim() || ending}`);
      child.on("close", tell);
      // A shared connection (ControlPersist) that ssh left in the background may hold the streams open for hours.
      setTimeout(tell, LAST_WORDS_MS);
    });
  });
  return {
    toServer: child.stdin,
    fromServer: child.stdout,
    ended,
    kill: () => void child.kill("SIGKILL"),
  };
}
