/**
 * The repository as one host may see and change it: a storage that decides everything.
 *
 * A host sees its own objects, and of others nothing: for what is another's the answer is the same as for what is nowhere.
 * It may add packs, indexes and one snapshot, each of which is looked at before it is stored. Nothing that a host asks for
 * deletes anything.
 */
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { ObjectMissingError, RefusedError, WriteOnlyError } from "../errors.ts";
import { asBuffer } from "../format/codec.ts";
import { decodeCondemned, encodeCondemned } from "../format/condemned.ts";
import { decodeIndex } from "../format/index-object.ts";
import { CONFIG_NAME, parseObjectName, PREFIXES } from "../format/names.ts";
import { decodeTrailer, PACK_TRAILER_BYTES, packObjectName, readDirectory } from "../format/pack.ts";
import { checkRange, isObjectName, objectMissing } from "../storage/object-name.ts";
import type { ByteRange, Storage, StoredObject } from "../storage/storage.ts";
import {
  checkIndex,
  checkName,
  checkPack,
  checkSnapshot,
  forwardedOrigins,
  framesOfPack,
  type DirectoryOfPack,
  frameSetOf,
  refusedSnapshot,
} from "./check-objects.ts";
import { createFrameRanges } from "./frame-ranges.ts";
import type { CataloguedPack } from "./host-catalogue.ts";
import type { Account, AdmittedHost } from "./host-directory.ts";
import { createSharedListings, type SharedListings } from "./shared-listings.ts";

/** What a session allows. */
export interface GuardedSession {
  readonly purpose: "backup" | "read";
  /** The time that its snapshot must bear. */
  readonly startedMs: number;
  /** Makes sure that a note of the run stands, which keeps pruning off, and goes on standing while it commits. */
  renewNote(): Promise<void>;
  /** Whether that note still stands. */
  noteStands(): Promise<boolean>;
  /**
   * Packs that were condemned already when the note began to stand: they may go at any moment. What is condemned since
   * stays as long as the note does, and then if a snapshot needs it (docs/decisions/0004-pruning-without-a-lock.md).
   */
  doomed(): ReadonlySet<string>;
  /** Told of each snapshot that is committed. */
  readonly onCommit?: ((snapshot: CommittedRecord) => void) | undefined;
}

export interface CommittedRecord {
  readonly id: string;
  readonly record: ReturnType<typeof checkSnapshot>;
}

/** Largest objects that a host may store; what an agent writes is far below. */
export const MAXIMUM_PUT_BYTES: Readonly<Partial<Record<string, number>>> = {
  pack: 64 * 1024 * 1024,
  index: 64 * 1024 * 1024,
  snapshot: 32 * 1024 * 1024,
  running: 64 * 1024,
};

/** What `readDirectory` reads of a pack's end at first. */
const PACK_END_BYTES = 64 * 1024;
const READS_AT_ONCE = 8;
const STATS_AT_ONCE = 16;
const MAXIMUM_NOTES = 16;

/** What all sessions of an account share. */
export interface AccountGuard {
  readonly account: Account;
  readonly listings: SharedListings;
  /** Condemned packs as of now, in hex, with all lists read that there are. */
  condemned(): Promise<ReadonlySet<string>>;
  /** Runs one commit after another for each host. */
  exclusively<Result>(host: string, work: () => Promise<Result>): Promise<Result>;
}

export function createAccountGuard(account: Account): AccountGuard {
  const { storage } = account;
  const listings = createSharedListings(storage);
  const lists = new Map<string, readonly string[]>();
  const commits = new Map<string, Promise<unknown>>();

  return {
    account,
    listings,
    async condemned() {
      const listed = await listings.list(PREFIXES.condemned);
      for (const name of lists.keys()) if (!listed.has(name)) lists.delete(name);
      const packs = new Set<string>();
      for (const name of listed.keys()) {
        if (parseObjectName(name) === undefined) continue;
        const known = lists.get(name) ?? (await readList(storage, name));
        if (known === undefined) continue;
        lists.set(name, known);
        for (const pack of known) packs.add(pack);
      }
      return packs;
    },
    async exclusively(host, work) {
      const before = commits.get(host) ?? Promise.resolve();
      const mine = before.then(work, work);
      commits.set(host, mine);
      try {
        return await mine;
      } finally {
        if (commits.get(host) === mine) commits.delete(host);
      }
    },
  };
}

/** By id. */
type Owned = Pick<ReadonlySet<string>, "has" | "keys">;

/** Those that are there. */
async function statAll(storage: Storage, names: readonly string[]): Promise<StoredObject[]> {
  const found: StoredObject[] = [];
  const remaining = names.values();
  async function statSome(): Promise<void> {
    for (const name of remaining) {
      const object = await storage.stat(name);
      if (object !== undefined) found.push(object);
    }
  }
  await Promise.all(Array.from({ length: STATS_AT_ONCE }, statSome));
  return found;
}

/** Undefined where pruning has just done with it. */
async function readList(storage: Storage, name: string): Promise<readonly string[] | undefined> {
  try {
    return decodeCondemned(await storage.get(name), name).packs;
  } catch (error) {
    if (error instanceof ObjectMissingError) return undefined;
    throw error;
  }
}

export interface GuardedStorage extends Storage {
  /** Throws before any content is taken where it would be refused whatever it is; false where the object is there. */
  mayPut(name: string, sizeBytes: number): Promise<boolean>;
  /** As `Account.admit`. */
  admit(name: string, sizeBytes: number): Promise<(arrivedBytes: number) => void>;
}

export function guardedStorage(guard: AccountGuard, host: AdmittedHost, session: GuardedSession): GuardedStorage {
  const { account, listings } = guard;
  const { storage, catalogue, repositoryId, indexKey } = account;
  const notes = new Map<string, StoredObject>();
  let committed: string | undefined;

  const missing = (name: string): ObjectMissingError => objectMissing(name, "the repository");

  async function ownsObject(name: string): Promise<boolean> {
    const parsed = parseObjectName(name);
    switch (parsed?.kind) {
      case "config":
        return true;
      case "pack":
      case "index":
      case "snapshot":
        return (await catalogue.ownerOf(parsed.kind, parsed.id)) === host.name;
      default:
        return false;
    }
  }

  async function listOwn(prefix: string): Promise<StoredObject[]> {
    switch (prefix) {
      case PREFIXES.pack:
        return listCatalogued(prefix, await catalogue.packsOf(host.name));
      case PREFIXES.index:
        return listCatalogued(prefix, await catalogue.indexesOf(host.name));
      case PREFIXES.snapshot:
        return listCatalogued(prefix, await catalogue.snapshotsOf(host.name));
      case PREFIXES.condemned: {
        const own = await ownCondemned();
        return own === undefined ? [] : [own.object];
      }
      case PREFIXES.running:
        return [...notes.values()];
      default:
        return [];
    }
  }

  async function listCatalogued(prefix: string, own: Owned): Promise<StoredObject[]> {
    // To look at each of a host's own files costs a part of what it costs to look at those of all hosts.
    if (storage.fileOf !== undefined) {
      return statAll(
        storage,
        [...own.keys()].map((id) => (prefix === PREFIXES.pack ? packObjectName(id) : prefix + id)),
      );
    }
    return [...(await listings.list(prefix)).values()].filter(({ name }) => {
      const id = parseObjectName(name)?.id;
      return id !== undefined && own.has(id);
    });
  }

  /** One list of the host's own condemned packs: which others there are is not for it to know. */
  async function ownCondemned(): Promise<{ object: StoredObject; bytes: Buffer } | undefined> {
    const own = await catalogue.packsOf(host.name);
    const packs = [...(await guard.condemned())].filter((id) => own.has(id)).sort();
    if (packs.length === 0) return undefined;
    // Of no time in particular, so that the same packs make the same object.
    const bytes = encodeCondemned({ packs, time: new Date(0).toISOString() });
    const name = PREFIXES.condemned + sha256Hex(bytes);
    return { bytes, object: { name, sizeBytes: bytes.length, modifiedMs: 0 } };
  }

  async function get(name: string, range?: ByteRange): Promise<Uint8Array> {
    requireName(name);
    const kind = parseObjectName(name)?.kind;
    if (kind === "condemned") {
      const own = await ownCondemned();
      if (own?.object.name !== name) throw missing(name);
      if (range === undefined) return own.bytes;
      checkRange(name, range, own.bytes.length);
      return own.bytes.subarray(range.offset, range.offset + range.length);
    }
    if (!(await ownsObject(name))) throw missing(name);
    if (kind === "pack" && host.mode === "write-only") await allowOnlyDirectory(name, range);
    return storage.get(name, range);
  }

  /**
   * A host that goes on after a run that broke off reads which blobs its packs hold, and one whose packs are condemned
   * copies what it needs of them, sealed as it is. Other frames it has no use for.
   */
  async function allowOnlyDirectory(name: string, range: ByteRange | undefined): Promise<void> {
    const id = parseObjectName(name)?.id;
    if (id !== undefined && (await guard.condemned()).has(id)) return;
    const found = await storage.stat(name);
    if (found === undefined) throw missing(name);
    const trailerOffset = Math.max(0, found.sizeBytes - PACK_TRAILER_BYTES);
    const trailer = asBuffer(
      await storage.get(name, { offset: trailerOffset, length: found.sizeBytes - trailerOffset }),
    );
    const { directoryOffset } = decodeTrailer(trailer, found.sizeBytes, name);
    const readableFrom = Math.max(0, Math.min(directoryOffset, found.sizeBytes - PACK_END_BYTES));
    if (range !== undefined && range.offset >= readableFrom) return;
    throw new WriteOnlyError("this host may store but not read back", {
      hint: "restore with the recovery key, or from the server",
    });
  }

  async function stat(name: string): Promise<StoredObject | undefined> {
    requireName(name);
    const kind = parseObjectName(name)?.kind;
    if (kind === "running") return notes.get(name);
    if (kind === "condemned") {
      const own = await ownCondemned();
      return own?.object.name === name ? own.object : undefined;
    }
    return (await ownsObject(name)) ? storage.stat(name) : undefined;
  }

  async function mayPut(name: string, sizeBytes: number): Promise<boolean> {
    requireName(name);
    const parsed = parseObjectName(name);
    const maximum = MAXIMUM_PUT_BYTES[parsed?.kind ?? ""];
    if (parsed === undefined || maximum === undefined) throw new RefusedError(`a host may not store ${name}`);
    if (session.purpose !== "backup") throw new RefusedError("this session is for reading only");
    if (sizeBytes > maximum) throw new RefusedError(`${name} has ${sizeBytes} bytes, more than the ${maximum} allowed`);
    if (parsed.kind === "running") return true;
    if ((await ownsObject(name)) && (await storage.stat(name)) !== undefined) return false;
    if (parsed.kind === "snapshot") requireNoneCommitted();
    return true;
  }

  function requireNoneCommitted(): void {
    if (committed !== undefined) throw refusedSnapshot("a run commits only one");
  }

  async function put(name: string, content: readonly Uint8Array[]): Promise<boolean> {
    const sizeBytes = content.reduce((sum, part) => sum + part.length, 0);
    if (!(await mayPut(name, sizeBytes))) return false;
    const bytes = content.length === 1 ? asBuffer(content[0]) : Buffer.concat(content);
    const { kind, id } = parseObjectName(name)!;
    if (kind === "running") return takeNote(name, sizeBytes);
    await checkName(name, id, bytes);
    if (kind === "pack") return putPack(id, bytes);
    if (kind === "index") return putIndex(id, bytes);
    return guard.exclusively(host.name, () => putSnapshot(id, bytes));
  }

  async function admit(name: string, sizeBytes: number): Promise<(arrivedBytes: number) => void> {
    return parseObjectName(name)?.kind === "running" ? () => undefined : account.admit(host.name, sizeBytes);
  }

  /** The server has noted the session itself; what the agent notes is for its own eyes. */
  function takeNote(name: string, sizeBytes: number): boolean {
    if (notes.has(name)) return false;
    if (notes.size >= MAXIMUM_NOTES) throw new RefusedError("too many notes of one run");
    notes.set(name, { name, sizeBytes, modifiedMs: Date.now() });
    return true;
  }

  async function putPack(id: string, bytes: Buffer): Promise<boolean> {
    const verified = await account.verifyPack?.({ id, bytes });
    const content = verified ?? bytes;
    // What was verified was looked at already, and elsewhere: this thread has connections to serve.
    const frames = verified === undefined ? checkPack(id, bytes, repositoryId, indexKey) : framesOfPack(id, content);
    for (const origin of forwardedOrigins(frames)) {
      // Else a host could say what became of another's frames.
      if ((await catalogue.ownerOfOrigin(origin)) === host.name) continue;
      throw new RefusedError(`pack ${id.slice(0, 16)}… is refused: it speaks of frames that are not this host's`);
    }
    // Noted before it is stored: a pack that nobody owns would be in the way of whoever made it.
    await catalogue.addPack(host.name, { id, sizeBytes: content.length, frames: frameSetOf(frames) });
    return storage.put(packObjectName(id), [content]);
  }

  async function putIndex(id: string, bytes: Buffer): Promise<boolean> {
    const name = PREFIXES.index + id;
    const index = decodeIndex(bytes, "the index");
    const own = await catalogue.packsOf(host.name);
    const listed = Array.from({ length: index.packCount }, (_, at) => {
      const pack = own.get(index.packNames.toString("hex", at * 32, at * 32 + 32));
      if (pack === undefined) throw new RefusedError("the index is refused: it lists a pack that is not this host's");
      return pack;
    });
    checkIndex(index, await readDirectories(listed), repositoryId, indexKey);
    const stored = await storage.put(name, [bytes]);
    await catalogue.addIndex(host.name, id);
    return stored;
  }

  async function readDirectories(packs: readonly CataloguedPack[]): Promise<Map<string, DirectoryOfPack>> {
    const directories = new Map<string, DirectoryOfPack>();
    const remaining = packs.values();
    async function readSome(): Promise<void> {
      for (const { id, sizeBytes } of remaining) {
        directories.set(id, { sizeBytes, frames: await readDirectory(storage, id, sizeBytes) });
      }
    }
    await Promise.all(Array.from({ length: READS_AT_ONCE }, readSome));
    return directories;
  }

  async function putSnapshot(id: string, bytes: Buffer): Promise<boolean> {
    const name = PREFIXES.snapshot + id;
    const { startedMs } = session;
    requireNoneCommitted();
    const { signingKeys } = host;
    const record = checkSnapshot(bytes, { host: host.name, repositoryId, signingKeys, startedMs });
    await requireInterval(id);
    // With a note that is certainly there, pruning that has not condemned a pack by now will not delete it.
    await session.renewNote();
    await requireFrames(record.frameSetBytes, session.doomed());
    const stored = await storage.put(name, [bytes]);
    // As for a backup at hand: docs/decisions/0004-pruning-without-a-lock.md.
    if (!(await session.noteStands())) {
      try {
        await requireFrames(record.frameSetBytes, await guard.condemned());
      } catch (error) {
        await storage.delete(name);
        throw error;
      }
    }
    await catalogue.addSnapshot(host.name, { id, timeMs: startedMs });
    committed = id;
    session.onCommit?.({ id, record });
    return stored;
  }

  async function requireInterval(id: string): Promise<void> {
    let latestMs = -Infinity;
    for (const snapshot of (await catalogue.snapshotsOf(host.name)).values()) {
      if (snapshot.id !== id) latestMs = Math.max(latestMs, snapshot.timeMs);
    }
    requireLater(session.startedMs, latestMs, host.minimumIntervalMs);
  }

  async function requireFrames(frames: Uint8Array, doomed: ReadonlySet<string>): Promise<void> {
    const own = await catalogue.packsOf(host.name);
    const present = new Set((await listCatalogued(PREFIXES.pack, own)).map(({ name }) => name));
    const ranges = createFrameRanges();
    for (const pack of own.values()) {
      if (!doomed.has(pack.id) && present.has(packObjectName(pack.id))) ranges.add(pack.frames);
    }
    const missingFrames = ranges.missing(frames, "its frame set");
    if (missingFrames === 0) return;
    throw refusedSnapshot(
      `${missingFrames} of the frames it needs are not stored for this host`,
      "run the backup again: it will store what is missing",
    );
  }

  return {
    location: "the repository",
    mayPut,
    admit,
    put,
    get,
    stat,
    async *list(prefix) {
      requirePrefix(prefix);
      if (prefix !== "") return yield* await listOwn(prefix);
      const config = await storage.stat(CONFIG_NAME);
      if (config !== undefined) yield config;
      for (const folder of Object.values(PREFIXES)) yield* await listOwn(folder);
    },
    async delete(name) {
      requireName(name);
      if (notes.delete(name)) return;
      if (parseObjectName(name)?.kind === "running") return;
      throw new RefusedError("nothing is deleted on behalf of a host", {
        hint: "the server's retention decides which snapshots stay",
      });
    },
    // The account's storage belongs to all its sessions.
    close: async () => undefined,
  };
}

/** Throws where a run that began then comes too soon after the last snapshot. */
export function requireLater(startedMs: number, latestMs: number, minimumIntervalMs: number): void {
  if (startedMs > latestMs && startedMs - latestMs >= minimumIntervalMs) return;
  const nextMs = Math.max(latestMs + minimumIntervalMs, latestMs + 1);
  throw new RefusedError(`this host has a snapshot of ${new Date(latestMs).toISOString()} already`, {
    hint: `the next may begin at ${new Date(nextMs).toISOString()}`,
  });
}

/** What a host asks for in vain is its own fault, and not the storage's. */
function requireName(name: string): void {
  if (!isObjectName(name)) throw new RefusedError(`${JSON.stringify(name.slice(0, 300))} is not an object name`);
}

function requirePrefix(prefix: string): void {
  if (prefix === "") return;
  if (!prefix.endsWith("/")) throw new RefusedError(`the prefix ${JSON.stringify(prefix)} does not end in "/"`);
  requireName(prefix.slice(0, -1));
}
