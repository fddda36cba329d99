/** The server's authorized_keys: which SSH key may do what as which host (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
import { readFileSync } from "node:fs";
import { errnoOf, UsageError } from "../errors.ts";
import type { Database } from "./database/open.ts";
import { listHosts } from "./hosts.ts";
import { writeFileDurably } from "./write-file.ts";

/** At the end of each line that is ours; all others are left as they are. */
const MARK = "holdfast:";

export interface AuthorizedKeysOptions {
  readonly file: string;
  /** Shell command for the sessions of a host. */
  readonly serveCommand: (host: string) => string;
  /** Shell command for a host that enrols with a one-time key. */
  readonly enrolCommand: (host: string) => string;
}

/** Writes the lines of all hosts and of all one-time keys that still hold. Suspended hosts have none. */
export async function writeAuthorizedKeys(
  database: Database,
  { file, serveCommand, enrolCommand }: AuthorizedKeysOptions,
  nowMs: number,
): Promise<void> {
  const hosts = (await listHosts(database)).flatMap(({ name, keys, state }) =>
    keys === undefined || state !== "active" ? [] : [authorizedLine(keys.sshKey, serveCommand(name), name)],
  );
  const tokens = await database
    .selectFrom("tokens")
    .innerJoin("hosts", "hosts.id", "tokens.host_id")
    .select(["hosts.name", "tokens.ssh_key", "tokens.expires_ms"])
    .where("tokens.expires_ms", ">", nowMs)
    .orderBy("hosts.name")
    .execute();
  const oneTime = tokens.map((token) =>
    authorizedLine(token.ssh_key, enrolCommand(token.name), `${token.name} until ${isoTime(token.expires_ms)}`, [
      `expiry-time="${expiryTime(token.expires_ms)}"`,
    ]),
  );
  const others = readLines(file).filter((line) => line !== "" && !line.includes(` ${MARK}`));
  const wanted = `${[...others, ...hosts, ...oneTime].join("\n")}\n`;
  if (readLines(file).join("\n") !== wanted) writeFileDurably(file, wanted);
}

function authorizedLine(sshKey: string, command: string, comment: string, more: readonly string[] = []): string {
  const options = ["restrict", ...more, `command="${command.replaceAll('"', '\\"')}"`];
  return `${options.join(",")} ${sshKey} ${MARK}${comment}`;
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** YYYYMMDDHHMM and Z for UTC. */
function expiryTime(timeMs: number): string {
  return `${new Date(timeMs).toISOString().replace(/[-T:]/g, "").slice(0, 12)}Z`;
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 16);
}

/** An SSH public key without its comment. Throws `UsageError` for what is none. */
export function parseSshKey(text: string): string {
  const match =
    /^(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa|sk-ssh-ed25519@openssh\.com) ([A-Za-z0-9+/]{60,1000}={0,2})(?: [^\r\n]*)?$/.exec(
      text.trim(),
    );
  if (match !== null) {
    const [, type, base64] = match;
    const bytes = Buffer.from(base64, "base64");
    // The blob begins with its own type, RFC 4253, 6.6.
    const length = bytes.length < 4 ? 0 : bytes.readUInt32BE(0);
    if (bytes.toString("base64") === base64 && bytes.subarray(4, 4 + length).toString() === type) {
      return `${type} ${base64}`;
    }
  }
  throw new UsageError("that is not an SSH public key", { hint: "it begins with ssh-ed25519 AAAA…" });
}

/** The line of authorized_keys for a raw Ed25519 public key (RFC 8709). */
export function sshKeyOf(publicKey: Uint8Array): string {
  const part = (bytes: Uint8Array): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const blob = Buffer.concat([part(Buffer.from("ssh-ed25519")), part(publicKey)]);
  return `ssh-ed25519 ${blob.toString("base64")}`;
}
