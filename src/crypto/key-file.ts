/**
 * Key files: a key ring in an age file (docs/format.md, "Keys"), so that `age -d` can open it without Holdfast.
 *
 * The age-encryption package is loaded only where recipients or identities are used: it takes some 60 ms.
 */
import { DamagedError, UsageError, WrongPasswordError, messageOf } from "../errors.ts";
import {
  AgeFileError,
  MAXIMUM_AGE_PAYLOAD_BYTES,
  decryptWithPassphrase,
  encryptWithPassphrase,
} from "./age-passphrase.ts";
import { decodeKeyRing, encodeKeyRing } from "./key-ring.ts";
import type { KeyRing } from "./key-ring.ts";

export type KeyFileLock =
  /** `workFactorLog2`: scrypt's cost as a power of two, and its memory in KiB; 16 unless given. */
  | { readonly passphrase: string; readonly workFactorLog2?: number }
  /** age recipients: `age1…`. */
  | { readonly recipients: readonly string[] };

export type KeyFileUnlock =
  | { readonly passphrase: string }
  /** age identities: `AGE-SECRET-KEY-1…`. */
  | { readonly identities: readonly string[] };

export interface OpenedKeyFile {
  readonly ring: KeyRing;
  /** Whose it is, for people; empty where it was not said. */
  readonly label: string;
  /** ISO 8601; empty where it was not said. */
  readonly created: string;
}

/** 64 MiB of memory and a tenth of a second a guess. */
const DEFAULT_WORK_FACTOR_LOG2 = 16;
const MAXIMUM_FILE_BYTES = MAXIMUM_AGE_PAYLOAD_BYTES + 64 * 1024;

/** Throws `UsageError` for what is no recipient. */
export async function encryptKeyFile(
  ring: KeyRing,
  label: string,
  lock: KeyFileLock,
  created: Date = new Date(),
): Promise<Buffer> {
  const json = encodeKeyRing(ring, { label, created: created.toISOString() });
  if (json.length > MAXIMUM_AGE_PAYLOAD_BYTES) throw new UsageError("the label of the key is too long");
  if ("passphrase" in lock) {
    return encryptWithPassphrase(json, lock.passphrase, lock.workFactorLog2 ?? DEFAULT_WORK_FACTOR_LOG2);
  }
  if (lock.recipients.length === 0) throw new UsageError("a key file needs at least one recipient");
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  for (const recipient of lock.recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch (cause) {
      throw new UsageError(`"${recipient}" is not an age recipient (age1…)`, { cause });
    }
  }
  return Buffer.from(await encrypter.encrypt(json));
}

/**
 * Opens a key file; scrypt runs on the thread pool. Throws `WrongPasswordError` where it does not open, `DamagedError`
 * (naming the file by `what`) where it is no key file, `UsageError` for what is no identity.
 */
export async function decryptKeyFile(
  bytes: Uint8Array,
  unlock: KeyFileUnlock,
  what = "key file",
): Promise<OpenedKeyFile> {
  if (bytes.length > MAXIMUM_FILE_BYTES) {
    throw new DamagedError(`${what} is damaged: with ${bytes.length} bytes it is too long`);
  }
  const json =
    "passphrase" in unlock
      ? await openWithPassphrase(bytes, unlock.passphrase, what)
      : await openWithIdentities(bytes, unlock.identities, what);
  const { ring, notes } = decodeKeyRing(json, what);
  return { ring, label: notes.label ?? "", created: notes.created ?? "" };
}

async function openWithPassphrase(bytes: Uint8Array, passphrase: string, what: string): Promise<Uint8Array> {
  let json: Uint8Array | undefined;
  try {
    json = await decryptWithPassphrase(bytes, passphrase);
  } catch (cause) {
    if (!(cause instanceof AgeFileError)) throw cause;
    if (cause.otherKind) throw new WrongPasswordError(`${what} is not for a password`, { cause });
    throw new DamagedError(`${what} is damaged: ${cause.message}`, { cause });
  }
  if (json === undefined) throw new WrongPasswordError(`the password does not open ${what}`);
  return json;
}

async function openWithIdentities(bytes: Uint8Array, identities: readonly string[], what: string): Promise<Uint8Array> {
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  for (const identity of identities) {
    try {
      decrypter.addIdentity(identity.trim());
    } catch (cause) {
      throw new UsageError("that is not an age identity (AGE-SECRET-KEY-1…)", { cause });
    }
  }
  try {
    return await decrypter.decrypt(bytes);
  } catch (cause) {
    const problem = messageOf(cause);
    if (problem.startsWith("no identity matched")) throw new WrongPasswordError(`no identity opens ${what}`, { cause });
    throw new DamagedError(`${what} is damaged: ${problem}`, { cause });
  }
}
