import { checksum16, createKeyedHash, sha256Hex } from "../crypto/keyed-hash.ts";
import { derivedKeys, type KeyRing } from "../crypto/key-ring.ts";
import { DamagedError, HoldfastError, messageOf } from "../errors.ts";
import { decodeCondemned } from "../format/condemned.ts";
import type { RepositoryConfig } from "../format/config.ts";
import { decodeFrameSet } from "../format/frame-set.ts";
import { openFrame, parseFrameBlobs } from "../format/frame.ts";
import { decodeIndex, packOf } from "../format/index-object.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import {
  checkPackHeader,
  decodeDirectory,
  decodeTrailer,
  type FrameLocation,
  openBlobList,
  PACK_TRAILER_BYTES,
  packObjectName,
} from "../format/pack.ts";
import type { Storage } from "../storage/storage.ts";
import { createFrameKeys } from "./frame-keys.ts";
import { openFrameReader } from "./frame-reader.ts";
import { countBlobsOutsideFrameSet } from "./frame-set-check.ts";
import { createFrameTable, type FrameTable, type PackRow } from "./frame-table.ts";
import { listPacks } from "./index-loader.ts";
import { findLiveFrames } from "./live-frames.ts";
import { listKeyFiles } from "./repository.ts";
import { listSnapshots, openSnapshot, SHORT_ID_LENGTH, type SnapshotRecord } from "./snapshots.ts";
import { createTreeChecker } from "./tree-checker.ts";

/**
 * Looks for damage. Without a key: whether all objects are there and whole, and belong together. With one: whether every
 * tree can be read, whether all blobs that they name are there, and whether the frame sets name all that is needed. With
 * `readData`: every byte of packs, and with the key every blob.
 */
export interface CheckOptions {
  readonly storage: Storage;
  readonly config: RepositoryConfig;
  /** What can be checked grows with what the ring holds; undefined to check without a key. */
  readonly ring: KeyRing | undefined;
  readonly readData?: ReadData | undefined;
  readonly onProblem: (problem: CheckProblem) => void;
  readonly onStep?: ((step: string) => void) | undefined;
  readonly onRead?: ((bytes: number, totalBytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which packs to read: all; the n-th of so many parts; a random part of them. */
export type ReadData =
  | { readonly kind: "all" }
  | { readonly kind: "part"; readonly part: number; readonly of: number }
  | { readonly kind: "percent"; readonly percent: number }
  | { readonly kind: "bytes"; readonly bytes: number };

export interface CheckProblem {
  /** `note`s are nothing to worry about, such as what an interrupted backup has left. */
  readonly severity: "error" | "note";
  /** Object or snapshot. */
  readonly object: string;
  readonly message: string;
}

export interface CheckResult {
  readonly errors: number;
  readonly snapshots: number;
  readonly packs: number;
  readonly packsRead: number;
  readonly bytesRead: number;
  readonly trees: number;
}

interface CheckedIndex {
  readonly frames: FrameTable;
  /** Checksums of frames by their number in the table; 16 bytes each. */
  readonly checksums: Buffer[];
  readonly usable: boolean;
}

export async function checkRepository(options: CheckOptions): Promise<CheckResult> {
  const { storage, config, ring } = options;
  const step = options.onStep ?? ((): void => undefined);
  let errors = 0;
  const problem = (severity: CheckProblem["severity"], object: string, message: string): void => {
    if (severity === "error") errors++;
    options.onProblem({ severity, object, message });
  };

  step("looking at keys, indexes and packs");
  if ((await listKeyFiles(storage)).length === 0) problem("error", "keys/", "there is no key file left");
  const present = await listPacks({ storage });
  const index = await checkIndexes(options, present, problem);
  await checkCondemned(options, problem);

  step("looking at snapshots");
  const snapshots = await listSnapshots({ storage, config }, (id, error) =>
    problem("error", PREFIXES.snapshot + id, messageOf(error)),
  );
  const { live, missing } = findLiveFrames(index.frames, snapshots);
  for (const [id, count] of missing) {
    problem("error", `snapshot ${id.slice(0, SHORT_ID_LENGTH)}`, `${count} frame(s) that it needs are in no index`);
  }
  checkPacksArePresent(index.frames, present, live, snapshots, problem);

  let trees = 0;
  if (ring?.privateKey !== undefined && index.usable) {
    step("walking trees");
    trees = await checkTrees(options, ring, snapshots, problem);
  }

  let packsRead = 0;
  let bytesRead = 0;
  if (options.readData !== undefined) {
    step("reading packs");
    const chosen = choosePacks(present, options.readData);
    const totalBytes = chosen.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0);
    const verify = createFrameVerifier(config, ring);
    const known = new Map(index.frames.packs.map((pack) => [pack.name.toString("hex"), pack]));
    for (const [name, sizeBytes] of chosen) {
      options.signal?.throwIfAborted();
      const message = await checkPack(options, index, verify, name, known.get(name));
      if (message !== undefined) {
        problem("error", packObjectName(name), message + neededBy(index.frames, known.get(name), snapshots));
      }
      packsRead++;
      bytesRead += sizeBytes;
      options.onRead?.(bytesRead, totalBytes);
    }
  }
  return { errors, snapshots: snapshots.length, packs: present.size, packsRead, bytesRead, trees };
}

type Report = (severity: CheckProblem["severity"], object: string, message: string) => void;

async function checkIndexes(
  { storage, config }: CheckOptions,
  present: ReadonlyMap<string, number>,
  problem: Report,
): Promise<CheckedIndex> {
  const frames = createFrameTable();
  const checksums: Buffer[] = [];
  let usable = true;
  for await (const { name } of storage.list(PREFIXES.index)) {
    const parsed = parseObjectName(name);
    if (parsed === undefined) continue;
    try {
      const bytes = await storage.get(name);
      if (sha256Hex(bytes) !== parsed.id) throw new DamagedError("its bytes do not match its name");
      const index = decodeIndex(bytes, name);
      if (!index.repositoryId.equals(config.id)) throw new DamagedError("it belongs to another repository");
      for (let pack = 0; pack < index.packCount; pack++) {
        const row = packOf(index, pack);
        const packName = row.name.toString("hex");
        const size = present.get(packName);
        if (size !== undefined && size !== row.sizeBytes) {
          problem("error", packObjectName(packName), `it has ${size} bytes instead of ${row.sizeBytes}`);
        }
        if (frames.addPack(row) >= 0) for (const frame of row.frames) checksums.push(Buffer.from(frame.checksum));
      }
    } catch (error) {
      usable = false;
      problem("error", name, `${messageOf(error)}; "holdfast repair index" makes it anew`);
    }
  }
  const unlisted = [...present.keys()].filter((name) => !frames.hasPack(Buffer.from(name, "hex")));
  if (unlisted.length > 0) {
    const message = `${unlisted.length} pack(s) are in no index: left by a backup that did not end, or still runs`;
    problem("note", PREFIXES.pack, message);
  }
  return { frames, checksums, usable };
}

async function checkCondemned({ storage }: CheckOptions, problem: Report): Promise<void> {
  for await (const { name } of storage.list(PREFIXES.condemned)) {
    if (parseObjectName(name) === undefined) continue;
    try {
      decodeCondemned(await storage.get(name), name);
    } catch (error) {
      problem("error", name, messageOf(error));
    }
  }
}

function checkPacksArePresent(
  frames: FrameTable,
  present: ReadonlyMap<string, number>,
  live: Uint8Array,
  snapshots: readonly SnapshotRecord[],
  problem: Report,
): void {
  for (const pack of frames.packs) {
    const name = pack.name.toString("hex");
    if (present.has(name)) continue;
    let needed = false;
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frames; frame++) {
      const elsewhere = frames.copiesOf(frame).some((copy) => present.has(frames.packOf(copy).name.toString("hex")));
      needed ||= live[frame] === 1 && !elsewhere;
    }
    if (needed) problem("error", packObjectName(name), `it is missing${neededBy(frames, pack, snapshots)}`);
    else problem("note", packObjectName(name), "an index lists it, but it is gone, and nothing needs it");
  }
}

/** Which snapshots need a frame of the pack, in words. */
function neededBy(frames: FrameTable, pack: PackRow | undefined, snapshots: readonly SnapshotRecord[]): string {
  if (pack === undefined) return "";
  const needing = snapshots.filter(({ record }) => {
    const set = decodeFrameSet(record.frameSetBytes);
    const ranges = new Map<number, [number, number][]>();
    for (let origin = 0; origin < set.originCount; origin++) {
      const list: [number, number][] = [];
      for (let range = set.rangeStarts[origin]; range < set.rangeStarts[origin + 1]; range++) {
        list.push([set.firsts[range], set.firsts[range] + set.counts[range]]);
      }
      ranges.set(frames.findOrigin(set.origins.subarray(origin * 32, origin * 32 + 32)), list);
    }
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frames; frame++) {
      const number = frames.numberOf(frame);
      const list = ranges.get(frames.originIndexOf(frame)) ?? [];
      if (list.some(([first, end]) => number >= first && number < end)) return true;
    }
    return false;
  });
  if (needing.length === 0) return "; no snapshot needs it";
  const ids = needing.slice(-5).map(({ id }) => id.slice(0, SHORT_ID_LENGTH));
  return `; needed by ${needing.length} snapshot(s): ${needing.length > 5 ? "…, " : ""}${ids.join(", ")}`;
}

async function checkTrees(
  { storage, config, signal }: CheckOptions,
  ring: KeyRing,
  snapshots: readonly SnapshotRecord[],
  problem: Report,
): Promise<number> {
  const repository = { storage, config, ring, keyId: undefined };
  const reader = await openFrameReader(repository);
  const checker = createTreeChecker(reader);
  for (const snapshot of snapshots) {
    signal?.throwIfAborted();
    const what = `snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)}`;
    try {
      const opened = openSnapshot(repository, snapshot);
      const { problems, neededFrames } = await checker.check(opened.sealed.root);
      for (const message of problems) problem("error", what, message);
      const unnamed = await countBlobsOutsideFrameSet(repository, reader, opened, neededFrames);
      if (unnamed > 0) {
        problem("error", what, `it needs ${unnamed} blob(s) that are in no frame which its frame set names`);
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      problem("error", what, messageOf(error));
    }
  }
  return checker.treeCount();
}

function choosePacks(present: ReadonlyMap<string, number>, readData: ReadData): [string, number][] {
  const all = [...present].sort(([a], [b]) => (a < b ? -1 : 1));
  switch (readData.kind) {
    case "all":
      return all;
    case "part":
      // By name, so that a pack stays in its part while others come and go.
      return all.filter(([name]) => Number.parseInt(name.slice(0, 8), 16) % readData.of === readData.part - 1);
    case "percent":
    case "bytes": {
      const total = all.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0);
      const wanted = readData.kind === "bytes" ? readData.bytes : (total * readData.percent) / 100;
      const shuffled = all.map((pack) => ({ pack, key: Math.random() })).sort((a, b) => a.key - b.key);
      let sum = 0;
      return shuffled.flatMap(({ pack }) => {
        if (sum >= wanted) return [];
        sum += pack[1];
        return [pack];
      });
    }
  }
}

/** Reads a whole pack; what is wrong with it, or undefined. */
async function checkPack(
  { storage, config }: CheckOptions,
  index: CheckedIndex,
  verify: FrameVerifier,
  name: string,
  listed: PackRow | undefined,
): Promise<string | undefined> {
  try {
    const bytes = Buffer.from(await storage.get(packObjectName(name)));
    if (sha256Hex(bytes) !== name) throw new DamagedError("it is damaged: its bytes do not match its name");
    checkPackHeader(bytes, config.id);
    const trailer = decodeTrailer(bytes.subarray(-PACK_TRAILER_BYTES), bytes.length);
    const end = bytes.length - PACK_TRAILER_BYTES;
    const directory = decodeDirectory(bytes.subarray(end - trailer.directoryLength, end), bytes.length, name);
    if (listed !== undefined && !agrees(index, listed, directory)) {
      throw new DamagedError('an index says something else of it than it does itself; run "holdfast repair index"');
    }
    for (const frame of directory) verify(bytes, frame);
    return undefined;
  } catch (error) {
    if (error instanceof HoldfastError) return error.message;
    throw error;
  }
}

function agrees({ frames, checksums }: CheckedIndex, pack: PackRow, directory: readonly FrameLocation[]): boolean {
  return (
    directory.length === pack.frames &&
    directory.every((frame, place) => {
      const number = pack.firstFrame + place;
      const row = frames.locate(number);
      return (
        row.offset === frame.offset &&
        row.length === frame.length &&
        row.kind === frame.kind &&
        row.number === frame.number &&
        row.origin.equals(frame.origin) &&
        checksums[number].equals(frame.checksum)
      );
    })
  );
}

type FrameVerifier = (pack: Buffer, frame: FrameLocation) => void;

/** Verifies frames as far as the ring allows: their checksums; their blob lists; their blobs. Throws `DamagedError`. */
function createFrameVerifier({ id }: RepositoryConfig, ring: KeyRing | undefined): FrameVerifier {
  const open = ring?.privateKey === undefined ? undefined : createBlobVerifier(id, ring, ring.privateKey);
  return (pack, frame) => {
    const record = pack.subarray(frame.offset, frame.offset + frame.length);
    if (!checksum16(record).equals(frame.checksum))
      throw new DamagedError(`frame ${frame.number} has a wrong checksum`);
    if (ring === undefined) return;
    const { ids, lengths } = openBlobList(ring.indexKey, id, frame.origin, frame.number, frame.sealedBlobs);
    open?.(record, frame, ids, lengths);
  };
}

function createBlobVerifier(
  repositoryId: Buffer,
  ring: KeyRing,
  privateKey: Buffer,
): (record: Buffer, frame: FrameLocation, ids: Buffer, lengths: Uint32Array) => void {
  const { data, tree } = derivedKeys(ring);
  const hashes = { data: createKeyedHash(data), tree: createKeyedHash(tree) };
  const keyOf = createFrameKeys(privateKey, repositoryId);
  return (record, frame, ids, lengths) => {
    const { raw } = openFrame(record, keyOf(frame.origin), repositoryId, frame);
    const blobs = parseFrameBlobs(raw);
    if (blobs.count !== lengths.length) throw new DamagedError(`frame ${frame.number} does not hold what is listed`);
    for (let place = 0; place < blobs.count; place++) {
      const blob = raw.subarray(blobs.offsets[place], blobs.offsets[place] + blobs.lengths[place]);
      if (!hashes[frame.kind].hash(blob).equals(ids.subarray(place * 32, place * 32 + 32))) {
        throw new DamagedError(`blob ${place} of frame ${frame.number} is not the one that is listed`);
      }
    }
  };
}
