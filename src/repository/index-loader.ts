import { sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, ObjectMissingError } from "../errors.ts";
import { type Condemned, decodeCondemned } from "../format/condemned.ts";
import { type BlobSection, decodeIndex, type DecodedIndex, openBlobSection, packOf } from "../format/index-object.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import { openBlobList, parsePackObjectName, readDirectory } from "../format/pack.ts";
import { type BlobTable, createBlobTable, insertBlob } from "./blob-table.ts";
import { createFrameTable, type FrameTable } from "./frame-table.ts";
import { freeMemory } from "../platform/free-memory.ts";
import type { StoredPack } from "./pack-writer.ts";
import type { Repository } from "./repository.ts";

/** What a repository's indexes say, ready for look-ups. */
export interface LoadedIndex {
  readonly frames: FrameTable;
  readonly blobs: BlobTable;
  /** The index objects that it was read from, and the packs (in hex) that each lists. */
  readonly objects: readonly LoadedObject[];
  /** Packs that no index lists, left by a run that did not end. Looked at only with `forWriting`; they are loaded too. */
  readonly unlisted: readonly StoredPack[];
  /** Packs that indexes list but storage does not have. Looked at only with `forWriting`. */
  readonly missingPacks: readonly string[];
  /** Packs that pruning is about to delete, in hex. Looked at only with `forWriting`. */
  readonly condemned: ReadonlySet<string>;
  /** The objects that name those packs. */
  readonly condemnedLists: readonly CondemnedList[];
}

/** An object under `condemned/`. */
export interface CondemnedList extends Condemned {
  readonly name: string;
}

export interface LoadedObject {
  readonly name: string;
  readonly sizeBytes: number;
  readonly packs: readonly string[];
}

export interface LoadOptions {
  /**
   * For a backup: leaves out blobs of packs that are condemned or gone, and takes in packs that no index lists yet.
   * Reading needs none of that: it fails where a pack is missing, and says so.
   */
  readonly forWriting: boolean;
  /** For pruning: condemned packs are loaded as well. */
  readonly keepCondemned?: boolean;
  /** Leaves the table of blobs empty, for those who only ask for frames. */
  readonly framesOnly?: boolean;
}

/** Index objects are kept in memory between the two passes over them up to this much, and else read twice. */
const KEPT_BYTES = 32 * 1024 * 1024;
/** The same where they are files of this machine, which are soon read again. */
const KEPT_FILE_BYTES = 4 * 1024 * 1024;
const ATTEMPTS = 5;
const READS_AHEAD = 16;
const AHEAD_BYTES = 8 * 1024 * 1024;

export async function loadIndex(repository: Repository, options: LoadOptions): Promise<LoadedIndex> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await loadOnce(repository, options);
    } catch (error) {
      // Somebody has merged indexes since they were listed: the merged one is there now.
      if (!(error instanceof IndexGoneError) || attempt === ATTEMPTS) throw error;
    }
  }
}

/** An index that was listed a moment ago is not there any more: somebody has merged it into another. */
export class IndexGoneError extends ObjectMissingError {}

interface FirstPass {
  readonly name: string;
  readonly kept: WholeIndex | undefined;
}

async function loadOnce(repository: Repository, options: LoadOptions): Promise<LoadedIndex> {
  const { storage } = repository;
  const condemnedLists = options.forWriting ? await readCondemnedLists(repository) : [];
  const condemned = new Set(condemnedLists.flatMap(({ packs }) => packs));
  const listed: ListedIndex[] = [];
  for await (const object of storage.list(PREFIXES.index)) {
    if (parseObjectName(object.name) !== undefined) listed.push(object);
  }
  // After the indexes: a pack is stored before the index that lists it, so what is missing here is truly gone.
  const present = options.forWriting ? await listPacks(repository) : undefined;

  const frames = createFrameTable();
  const missingPacks: string[] = [];
  const objects: LoadedObject[] = [];
  const first: FirstPass[] = [];
  const mostKeptBytes = storage.fileOf === undefined ? KEPT_BYTES : KEPT_FILE_BYTES;
  let keptBytes = 0;
  let blobCount = 0;
  for await (const { name, sizeBytes, bytes, index } of readIndexes(repository, listed)) {
    const packs: string[] = [];
    for (let pack = 0; pack < index.packCount; pack++) {
      const packName = index.packNames.toString("hex", pack * 32, pack * 32 + 32);
      packs.push(packName);
      if (present !== undefined && !present.has(packName)) missingPacks.push(packName);
      else if (options.keepCondemned === true || !condemned.has(packName)) frames.addPack(packOf(index, pack));
    }
    objects.push({ name, sizeBytes, packs });
    for (const section of index.sections) blobCount += section.blobCount;
    const isKept = options.framesOnly !== true && keptBytes + sizeBytes <= mostKeptBytes;
    first.push({ name, kept: isKept ? { bytes, index } : undefined });
    if (isKept) keptBytes += sizeBytes;
    else freeMemory(bytes);
  }

  const left = options.keepCondemned === true ? new Set<string>() : condemned;
  const unlisted = present === undefined ? [] : await readUnlisted(repository, frames, present, left);
  for (const pack of unlisted) {
    for (const frame of pack.frames) blobCount += frame.lengths.length;
  }

  const blobs = createBlobTable(options.framesOnly === true ? 0 : blobCount);
  for (const { name, kept } of options.framesOnly === true ? [] : first) {
    const { bytes, index } = kept ?? (await readWhole(repository, name));
    for (const section of index.sections) insertSection(repository, blobs, frames, section, name);
    // What is freed here makes room for what is read next; the garbage collector would let all of it gather.
    freeMemory(bytes);
  }
  for (const pack of unlisted) {
    const firstFrame = frames.addPack({ ...pack, frames: pack.frames.map(withOwnBytes) });
    if (options.framesOnly === true) continue;
    pack.frames.forEach((frame, offset) => {
      for (let place = 0; place < frame.lengths.length; place++) {
        insertBlob(blobs, frame.ids, place * 32, firstFrame + offset, place);
      }
    });
  }
  return { frames, blobs, objects, unlisted, missingPacks, condemned, condemnedLists };
}

function withOwnBytes<T extends { readonly origin: Uint8Array }>(frame: T): T & { readonly origin: Buffer } {
  return { ...frame, origin: Buffer.from(frame.origin) };
}

/** An index, and the bytes of which its sections are views. */
interface WholeIndex {
  readonly bytes: Uint8Array;
  readonly index: DecodedIndex;
}

interface ReadIndex extends ListedIndex, WholeIndex {}

interface ListedIndex {
  readonly name: string;
  readonly sizeBytes: number;
}

/** Reads indexes in turn, and a little ahead: from far away, many small ones would take long one after another. */
async function* readIndexes(repository: Repository, listed: readonly ListedIndex[]): AsyncGenerator<ReadIndex> {
  const ahead: { readonly sizeBytes: number; readonly reading: Promise<ReadIndex> }[] = [];
  let aheadBytes = 0;
  let next = 0;
  for (;;) {
    while (next < listed.length && ahead.length < READS_AHEAD && (ahead.length === 0 || aheadBytes < AHEAD_BYTES)) {
      const { name, sizeBytes } = listed[next++];
      const reading = readWhole(repository, name).then((whole) => ({ name, sizeBytes, ...whole }));
      // Whoever waits for it is told; until then it is nobody's.
      reading.catch(() => undefined);
      ahead.push({ sizeBytes, reading });
      aheadBytes += sizeBytes;
    }
    const first = ahead.shift();
    if (first === undefined) return;
    aheadBytes -= first.sizeBytes;
    yield await first.reading;
  }
}

/** An index, whole and of this repository. Throws `DamagedError` and `IndexGoneError`. */
export async function readIndex(repository: Repository, name: string): Promise<DecodedIndex> {
  return (await readWhole(repository, name)).index;
}

async function readWhole(repository: Repository, name: string): Promise<WholeIndex> {
  let bytes: Uint8Array;
  try {
    bytes = await repository.storage.get(name);
  } catch (error) {
    if (error instanceof ObjectMissingError) throw new IndexGoneError(error.message, { cause: error });
    throw error;
  }
  // Only blob lists are sealed. Which frames lie where, nothing else guards, and what no index lists is deleted some day.
  if (PREFIXES.index + sha256Hex(bytes) !== name) {
    throw new DamagedError(`${name} is damaged: its bytes do not match its name`, {
      hint: 'run "holdfast repair index"',
    });
  }
  const index = decodeIndex(bytes, name);
  if (!index.repositoryId.equals(repository.ring.repositoryId)) {
    throw new DamagedError(`${name} belongs to another repository`, { hint: 'run "holdfast repair index"' });
  }
  return { bytes, index };
}

function insertSection(
  repository: Repository,
  blobs: BlobTable,
  frames: FrameTable,
  section: BlobSection,
  what: string,
): void {
  const { frameNames } = section;
  const origins: number[] = [];
  for (let at = 0; at < frameNames.origins.length; at += 32) {
    origins.push(frames.findOrigin(Buffer.from(frameNames.origins.buffer, frameNames.origins.byteOffset + at, 32)));
  }
  const frameOfName = new Int32Array(frameNames.numbers.length);
  for (let name = 0; name < frameOfName.length; name++) {
    frameOfName[name] = frames.findIn(origins[frameNames.originIndexes[name]], frameNames.numbers[name]);
  }
  const { ring } = repository;
  const columns = openBlobSection(ring.indexKey, ring.repositoryId, section, what);
  for (let blob = 0; blob < columns.count; blob++) {
    const frame = frameOfName[columns.frames[blob]];
    if (frame >= 0) insertBlob(blobs, columns.ids, blob * 16, frame, columns.places[blob]);
  }
  freeMemory(new Uint8Array(columns.ids.buffer));
}

/** Names of all packs in storage, in hex, with their sizes. */
export async function listPacks(repository: Pick<Repository, "storage">): Promise<Map<string, number>> {
  const packs = new Map<string, number>();
  for await (const object of repository.storage.list(PREFIXES.pack)) {
    const name = parsePackObjectName(object.name);
    if (name !== undefined) packs.set(name, object.sizeBytes);
  }
  return packs;
}

/** All packs that pruning has condemned so far. */
export async function readCondemned(repository: Repository): Promise<Set<string>> {
  return new Set((await readCondemnedLists(repository)).flatMap(({ packs }) => packs));
}

async function readCondemnedLists(repository: Repository): Promise<CondemnedList[]> {
  const lists = new Map<string, CondemnedList>();
  let isWhole = false;
  for (let attempt = 1; !isWhole && attempt <= ATTEMPTS; attempt++) {
    isWhole = true;
    for await (const { name } of repository.storage.list(PREFIXES.condemned)) {
      if (parseObjectName(name) === undefined || lists.has(name)) continue;
      try {
        lists.set(name, { name, ...decodeCondemned(await repository.storage.get(name), name) });
      } catch (error) {
        if (!(error instanceof ObjectMissingError)) throw error;
        // Pruning has done with it, or put another in its place, which may have come too late for this listing.
        isWhole = false;
      }
    }
  }
  return [...lists.values()];
}

/** Directories of the packs that no index lists, but for those that are to be `left`. `check` tells of damaged ones. */
async function readUnlisted(
  repository: Repository,
  frames: FrameTable,
  present: ReadonlyMap<string, number>,
  left: ReadonlySet<string>,
): Promise<StoredPack[]> {
  const unlisted: StoredPack[] = [];
  for (const [name, sizeBytes] of present) {
    const bytes = Buffer.from(name, "hex");
    if (left.has(name) || frames.hasPack(bytes)) continue;
    const pack = await readPackBlobs(repository, name, sizeBytes).catch((error: unknown) => {
      if (error instanceof DamagedError || error instanceof ObjectMissingError) return undefined;
      throw error;
    });
    if (pack !== undefined) unlisted.push(pack);
  }
  return unlisted;
}

/** What a pack's own directory says of its frames and their blobs. */
export async function readPackBlobs(repository: Repository, name: string, sizeBytes: number): Promise<StoredPack> {
  const { storage, ring } = repository;
  const directory = await readDirectory(storage, name, sizeBytes);
  return {
    name: Buffer.from(name, "hex"),
    sizeBytes,
    frames: directory.map((frame) => ({
      ...frame,
      ...openBlobList(ring.indexKey, ring.repositoryId, frame.origin, frame.number, frame.sealedBlobs),
    })),
  };
}
