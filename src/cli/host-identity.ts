import { chmodSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir, hostname, userInfo } from "node:os";
import path from "node:path";
import { generateSigningKey, signingKeyFromSeed, type SigningKey } from "../crypto/signing.ts";
import { errnoOf, messageOf, UsageError } from "../errors.ts";
import { makeFolder } from "../platform/make-folder.ts";

/** `user@host`, for labels of keys. */
export function userAtHost(): string {
  return `${userName()}@${hostname()}`;
}

/** Empty where the number has no name. */
export function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "";
  }
}

/**
 * The key that signs this user's snapshots on this machine, made when it is first needed: 32 bytes in base64, in
 * `HOLDFAST_CONFIG_DIR`, or `holdfast` in `XDG_CONFIG_HOME`, or `~/.config/holdfast`.
 * Where it can be neither read nor kept, a key of its own signs this one run.
 */
export function hostSigningKey(environment: NodeJS.ProcessEnv = process.env): SigningKey {
  const file = path.join(configDirectory(environment), "signing-key");
  try {
    return decodeKey(readFileSync(file, "latin1"), file);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
  const key = generateSigningKey();
  try {
    makeFolder(path.dirname(file));
    // Another run may make one at the same moment: the last one stays, and both signed well.
    const temporary = `${file}.${process.pid}.new`;
    writeFileSync(temporary, `${key.privateKey.toString("base64")}\n`, { mode: 0o600 });
    chmodSync(temporary, 0o600);
    renameSync(temporary, file);
  } catch (error) {
    if (errnoOf(error) === undefined) throw new UsageError(messageOf(error), { cause: error });
  }
  return key;
}

function decodeKey(text: string, file: string): SigningKey {
  const seed = Buffer.from(text.trim(), "base64");
  if (seed.length !== 32) {
    throw new UsageError(`${file} is not a signing key`, {
      hint: "remove the file: a new key is made by the next run",
    });
  }
  return signingKeyFromSeed(seed);
}

function configDirectory(environment: NodeJS.ProcessEnv): string {
  const { HOLDFAST_CONFIG_DIR, XDG_CONFIG_HOME, HOME } = environment;
  if (HOLDFAST_CONFIG_DIR) return HOLDFAST_CONFIG_DIR;
  if (XDG_CONFIG_HOME && path.isAbsolute(XDG_CONFIG_HOME)) return path.join(XDG_CONFIG_HOME, "holdfast");
  return path.join(HOME || homedir(), ".config", "holdfast");
}
