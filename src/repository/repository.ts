import { randomBytes } from "node:crypto";
import { createKeyRing, derivedKeys, type DerivedKeys, type KeyRing } from "../crypto/key-ring.ts";
import { decryptKeyFile, encryptKeyFile, type KeyFileLock, type OpenedKeyFile } from "../crypto/key-file.ts";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import {
  DamagedError,
  HoldfastError,
  NoRepositoryError,
  ObjectMissingError,
  UsageError,
  WriteOnlyError,
  WrongPasswordError,
} from "../errors.ts";
import { decodeConfig, encodeConfig, type RepositoryConfig } from "../format/config.ts";
import { CONFIG_NAME, parseObjectName, PREFIXES } from "../format/names.ts";
import type { Storage, StoredObject } from "../storage/storage.ts";

/** A repository whose key ring is at hand. */
export interface Repository {
  readonly storage: Storage;
  readonly config: RepositoryConfig;
  readonly ring: KeyRing;
  /** The key file that opened it; undefined where the ring came from elsewhere. */
  readonly keyId: string | undefined;
  /** Whose the key files are that opened, by their ids: those of others only their owners can read. */
  readonly keyNotes?: ReadonlyMap<string, KeyNotes>;
}

type KeyNotes = Pick<OpenedKeyFile, "label" | "created">;

/** How to get at the key ring. */
export type Unlock =
  { readonly passphrase: string } | { readonly identities: readonly string[] } | { readonly ring: KeyRing };

/** What the first key file opens with, and how it is called. */
export type CreateOptions = KeyFileLock & { readonly label: string; readonly now: Date };

/** Makes a repository in storage that holds none. The key file comes first, and `config`, which makes it one, last. */
export async function createRepository(storage: Storage, options: CreateOptions): Promise<Repository> {
  if ((await storage.stat(CONFIG_NAME)) !== undefined) {
    throw new UsageError(`there is a repository at ${storage.location} already`, {
      hint: "use it as it is, or choose another place",
    });
  }
  for (const prefix of [PREFIXES.snapshot, PREFIXES.pack]) await requireNone(storage, prefix);
  const ring = createKeyRing(randomBytes(16));
  const keyId = await storeKeyFile(storage, await encryptKeyFile(ring, options.label, options));
  const config = { id: ring.repositoryId, created: options.now.toISOString(), publicKey: ring.publicKey };
  if (!(await storage.put(CONFIG_NAME, [encodeConfig(config)]))) {
    await storage.delete(PREFIXES.key + keyId);
    throw new UsageError(`somebody else has just made a repository at ${storage.location}`);
  }
  return { storage, config, ring, keyId };
}

/** A repository that has lost its `config` is not to be made into another, for which all that is in it would be garbage. */
async function requireNone(storage: Storage, prefix: string): Promise<void> {
  for await (const { name } of storage.list(prefix)) {
    if (parseObjectName(name) === undefined) continue;
    throw new UsageError(`there is no config at ${storage.location}, but there are other parts of a repository`, {
      hint: "put a copy of its config back; a new repository needs another place",
    });
  }
}

/** Reads what can be read without a key. Throws `NoRepositoryError`, `NewerFormatError` or `DamagedError`. */
export async function readConfig(storage: Storage): Promise<RepositoryConfig> {
  let bytes: Uint8Array;
  try {
    bytes = await storage.get(CONFIG_NAME);
  } catch (error) {
    if (!(error instanceof ObjectMissingError)) throw error;
    throw new NoRepositoryError(`there is no repository at ${storage.location}`, {
      hint: `make one with "holdfast init -r ${storage.location}", or check the path`,
    });
  }
  return decodeConfig(bytes, `config of ${storage.location}`);
}

export interface OpenOptions {
  /** The beginning of the id of the key file that probably opens: it is tried first, and by itself. */
  readonly keyHint?: string | undefined;
}

export async function openRepository(
  storage: Storage,
  unlock: Unlock,
  { keyHint = "" }: OpenOptions = {},
): Promise<Repository> {
  const config = await readConfig(storage);
  const { ring, keyId, keyNotes }: Opened =
    "ring" in unlock
      ? { ring: unlock.ring, keyId: undefined, keyNotes: new Map() }
      : await findRing(storage, unlock, config.id, keyHint);
  if (!ring.repositoryId.equals(config.id)) {
    throw new DamagedError(`the key does not belong to the repository at ${storage.location}`, {
      hint: "check that key file and repository are of the same backup",
    });
  }
  if (!ring.publicKey.equals(config.publicKey)) {
    throw new DamagedError(`the public key in the config of ${storage.location} is not the one in the key file`, {
      hint: "somebody altered the repository: do not trust what was added to it since",
    });
  }
  return { storage, config, ring, keyId, keyNotes };
}

interface Opened {
  readonly ring: KeyRing;
  readonly keyId: string | undefined;
  readonly keyNotes: ReadonlyMap<string, KeyNotes>;
}

/** Tries that of the hint, and then all key files at once, as each takes a while. */
async function findRing(
  storage: Storage,
  unlock: Exclude<Unlock, { ring: KeyRing }>,
  repositoryId: Buffer,
  keyHint: string,
): Promise<Opened> {
  const files = await listKeyFiles(storage);
  if (files.length === 0) {
    throw new DamagedError(`the repository at ${storage.location} has lost its key files`, {
      hint: "put a copy of one back into keys/, or use an exported key ring",
    });
  }
  const open = async ({ name }: StoredObject) => {
    const bytes = await storage.get(name);
    const { ring, label, created } = await decryptKeyFile(
      bytes,
      "passphrase" in unlock ? unlock : { identities: [...unlock.identities] },
    );
    return { ring, keyId: name.slice(PREFIXES.key.length), notes: { label, created } };
  };
  const hinted = keyHint === "" ? [] : files.filter(({ name }) => name.startsWith(PREFIXES.key + keyHint));
  for (const file of hinted) {
    const one = await open(file).catch(() => undefined);
    if (one?.ring.repositoryId.equals(repositoryId)) return { ...one, keyNotes: new Map([[one.keyId, one.notes]]) };
  }
  const tried = await Promise.allSettled(files.map(open));
  const opened = tried.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  // An `init` that was broken off may have left the key of a repository that never was.
  const own = opened.find(({ ring }) => ring.repositoryId.equals(repositoryId)) ?? opened.at(0);
  if (own !== undefined) return { ...own, keyNotes: new Map(opened.map(({ keyId, notes }) => [keyId, notes])) };
  const reasons = tried.flatMap((result): unknown[] => (result.status === "rejected" ? [result.reason] : []));
  const other = reasons.find((reason) => !(reason instanceof WrongPasswordError));
  if (other !== undefined && reasons.every((reason) => !(reason instanceof WrongPasswordError))) throw other;
  const what = "passphrase" in unlock ? "password" : "identity";
  throw new WrongPasswordError(`the ${what} opens none of the ${files.length} key(s) of ${storage.location}`, {
    hint: "check it for typing errors, or use another key of this repository",
  });
}

export async function listKeyFiles(storage: Storage): Promise<StoredObject[]> {
  const files: StoredObject[] = [];
  for await (const object of storage.list(PREFIXES.key)) {
    if (parseObjectName(object.name) !== undefined) files.push(object);
  }
  return files.sort((a, b) => a.modifiedMs - b.modifiedMs || (a.name < b.name ? -1 : 1));
}

/** Stores a key file under its own name, and gives its id. */
export async function storeKeyFile(storage: Storage, bytes: Uint8Array): Promise<string> {
  const id = sha256Hex(bytes).slice(0, 32);
  await storage.put(PREFIXES.key + id, [bytes]);
  return id;
}

/** The keys that come from the writer's secret. Throws `HoldfastError` where the ring has none. */
export function writerKeys(repository: Repository): DerivedKeys {
  if (repository.ring.writerSecret === undefined) {
    throw new HoldfastError("the key at hand may check and prune, but neither write nor read");
  }
  return derivedKeys(repository.ring);
}

/** The key that opens what is stored. Throws `WriteOnlyError` where the ring has none. */
export function privateKeyOf(repository: Repository): Buffer {
  const { privateKey } = repository.ring;
  if (privateKey === undefined) {
    throw new WriteOnlyError("the key at hand may write to the repository but not read from it", {
      hint: "use a key with the right to read, such as the recovery key",
    });
  }
  return privateKey;
}
