/** What the server keeps for pulls, below its data folder: keys, and for each host the key that its sshd must show. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { opensshPrivateKey } from "../../crypto/openssh-key.ts";
import { generateSigningKey, signingKeyFromSeed, type SigningKey } from "../../crypto/signing.ts";
import { errnoOf, UsageError } from "../../errors.ts";
import { parseSshKey, sshKeyOf } from "../../fleet/authorized-keys.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { writeFileDurably } from "../../fleet/write-file.ts";

export const pullFile = {
  /** Key that may read files. */
  sshKey: (dataFolder: string) => path.join(dataFolder, "pulls", "ssh-key"),
  /** Key that may read a host's /etc/backup.conf. */
  pathsKey: (dataFolder: string) => path.join(dataFolder, "pulls", "paths-key"),
  /** Settings for ssh, if somebody needs any: a jump host, say. */
  sshConfig: (dataFolder: string) => path.join(dataFolder, "pulls", "ssh_config"),
  knownHosts: (dataFolder: string, host: string) => path.join(dataFolder, "pulls", "hosts", host, "known_hosts"),
  signingKey: (dataFolder: string, host: string) => path.join(dataFolder, "pulls", "hosts", host, "signing-key"),
  /** Where walk logs lie. */
  cache: (dataFolder: string) => path.join(dataFolder, "pulls", "cache"),
} as const;

/** Public halves of the keys that a host has to let in: `ssh-ed25519 AAAA…`. */
export interface PullKeys {
  readonly sshKey: string;
  readonly pathsKey: string;
}

/** The server's keys for pulls, made where they are not there. Throws `UsageError` for an identity that is no key. */
export function keepPullKeys(dataFolder: string, identityFile?: string): PullKeys {
  return {
    sshKey:
      identityFile === undefined ? keptSshKey(pullFile.sshKey(dataFolder), "holdfast pull") : publicKeyOf(identityFile),
    pathsKey: keptSshKey(pullFile.pathsKey(dataFolder), "holdfast paths"),
  };
}

function keptSshKey(file: string, comment: string): string {
  const known = readIfThere(`${file}.pub`);
  if (known !== undefined && existsSync(file)) return parseSshKey(known);
  const key = generateSigningKey();
  writeFileDurably(file, opensshPrivateKey(key, comment));
  writeFileDurably(`${file}.pub`, `${sshKeyOf(key.publicKey)} ${comment}\n`);
  return sshKeyOf(key.publicKey);
}

function publicKeyOf(identityFile: string): string {
  try {
    // An empty passphrase: else ssh-keygen would ask for one, and nobody is there.
    const args = ["-y", "-P", "", "-f", identityFile];
    return parseSshKey(execFileSync("ssh-keygen", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }));
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
    throw new UsageError(`${identityFile} is no private key that the server can use${said === "" ? "" : `: ${said}`}`, {
      hint: "it must be readable by the server's user, and have no passphrase",
      cause,
    });
  }
}

/** The key that signs the snapshots of a host that cannot do it itself. */
export function keepSigningKey(dataFolder: string, host: string): SigningKey {
  const known = findSigningKey(dataFolder, host);
  if (known !== undefined) return known;
  const key = generateSigningKey();
  writeFileDurably(pullFile.signingKey(dataFolder, host), `${key.privateKey.toString("base64")}\n`);
  return key;
}

/** The same, where the server has ever signed for this host. */
export function findSigningKey(dataFolder: string, host: string): SigningKey | undefined {
  const seed = Buffer.from(readIfThere(pullFile.signingKey(dataFolder, host))?.trim() ?? "", "base64");
  return seed.length === 32 ? signingKeyFromSeed(seed) : undefined;
}

/** What ssh may take for the host's key, under the alias that `sshCommand` gives the host. */
export function keepKnownHosts(dataFolder: string, host: string, { hostKeys }: Pick<PullSettings, "hostKeys">): string {
  const file = pullFile.knownHosts(dataFolder, host);
  const wanted = hostKeys.map((key) => `${host} ${key}\n`).join("");
  if (readIfThere(file) !== wanted) writeFileDurably(file, wanted);
  return file;
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
