import { checksum16, createKeyedHash, sha256Hex } from "../crypto/keyed-hash.ts";
import { derivedKeys, type KeyRing } from "../crypto/key-ring.ts";
import { DamagedError, HoldfastError, messageOf, ObjectMissingError } from "../errors.ts";
import { decodeCondemned } from "../format/condemned.ts";
import type { RepositoryConfig } from "../format/config.ts";
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
import { findLiveFrames, forEachFrameOf } from "./live-frames.ts";
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
  const { ring } = options;
  const step = options.onStep ?? ((): void => undefined);
  let errors = 0;
  const report = (problems: readonly CheckProblem[]): void => {
    for (const problem of problems) {
      if (problem.severity === "error") errors++;
      options.onProblem(problem);
    }
  };

  step("looking at keys, snapshots, indexes and packs");
  let structure = await lookUntilSure(options);
  report(structure.problems);

  let trees = 0;
  if (ring?.privateKey !== undefined && structure.usable) {
    step("walking trees");
    trees = await checkTrees(options, ring, structure.snapshots, report);
  }

  let packsRead = 0;
  let bytesRead = 0;
  if (options.readData !== undefined) {
    step("reading packs");
    const chosen = choosePacks(structure.present, options.readData);
    const totalBytes = chosen.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0);
    const verify = createFrameVerifier(options.config, ring);
    const known = new Map(structure.frames.packs.map((pack, index) => [pack.name.toString("hex"), { pack, index }]));
    let hasVanished = false;
    for (const [name, sizeBytes] of chosen) {
      options.signal?.throwIfAborted();
      const found = known.get(name);
      const message = await checkPack(options, structure, verify, name, found?.pack);
      hasVanished ||= message === VANISHED;
      if (message !== undefined && message !== VANISHED) {
        const who = found === undefined ? "" : structure.neededBy(found.index);
        report([{ severity: "error", object: packObjectName(name), message: message + who }]);
      }
      packsRead++;
      bytesRead += sizeBytes;
      options.onRead?.(bytesRead, totalBytes);
    }
    if (hasVanished) {
      // Pruned since, most likely; if not, it is missing now.
      const before = new Set(structure.problems.map(textOf));
      structure = await lookUntilSure(options);
      report(structure.problems.filter((problem) => !before.has(textOf(problem))));
    }
  }
  const { snapshots, present } = structure;
  return { errors, snapshots: snapshots.length, packs: present.size, packsRead, bytesRead, trees };
}

const textOf = (problem: CheckProblem): string => `${problem.object}: ${problem.message}`;

/** What can be seen without opening anything, and what is wrong with it. */
interface Structure extends CheckedIndex {
  readonly snapshots: readonly SnapshotRecord[];
  /** Packs in storage, by name in hex, with their sizes. */
  readonly present: ReadonlyMap<string, number>;
  readonly neededBy: NeededBy;
  readonly problems: readonly CheckProblem[];
}

const LOOKS_AT_MOST = 5;

/**
 * Others may be saving, pruning and merging indexes. What is wrong only for a moment, or only because one thing was looked
 * at before the other, is not wrong when one looks again.
 */
async function lookUntilSure(options: CheckOptions): Promise<Structure> {
  let structure = await look(options);
  for (let looks = 1; looks < LOOKS_AT_MOST; looks++) {
    const errors = errorsOf(structure);
    if (errors === "") break;
    structure = await look(options);
    if (errorsOf(structure) === errors) break;
  }
  return structure;
}

function errorsOf({ problems }: Structure): string {
  const errors = problems.filter(({ severity }) => severity === "error");
  return errors.map(textOf).sort().join("\n");
}

async function look(options: CheckOptions): Promise<Structure> {
  const { storage, config } = options;
  const problems: CheckProblem[] = [];
  const problem: Report = (severity, object, message) => problems.push({ severity, object, message });
  if ((await listKeyFiles(storage)).length === 0) problem("error", "keys/", "there is no key file left");
  // Against the order in which they are stored: what one of them names has been there before it.
  const snapshots = await listSnapshots({ storage, config }, (id, error) =>
    problem("error", PREFIXES.snapshot + id, messageOf(error)),
  );
  const indexNames: string[] = [];
  for await (const { name } of storage.list(PREFIXES.index)) {
    if (parseObjectName(name) !== undefined) indexNames.push(name);
  }
  const present = await listPacks({ storage });
  const index = await checkIndexes(options, indexNames, present, problem);
  await checkCondemned(options, problem);
  const { live, missing } = findLiveFrames(index.frames, snapshots);
  for (const [id, count] of missing) {
    problem("error", `snapshot ${id.slice(0, SHORT_ID_LENGTH)}`, `${count} frame(s) that it needs are in no index`);
  }
  const neededBy = createNeededBy(index.frames, snapshots);
  checkPacksArePresent(index.frames, present, live, neededBy, problem);
  return { ...index, snapshots, present, neededBy, problems };
}

type Report = (severity: CheckProblem["severity"], object: string, message: string) => void;

async function checkIndexes(
  { storage, config }: CheckOptions,
  names: readonly string[],
  present: ReadonlyMap<string, number>,
  problem: Report,
): Promise<CheckedIndex> {
  const frames = createFrameTable();
  const checksums: Buffer[] = [];
  let usable = true;
  for (const name of names) {
    try {
      const bytes = await storage.get(name);
      if (PREFIXES.index + sha256Hex(bytes) !== name) throw new DamagedError("its bytes do not match its name");
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
  neededBy: NeededBy,
  problem: Report,
): void {
  const isPresent = frames.packs.map(({ name }) => present.has(name.toString("hex")));
  for (const [index, pack] of frames.packs.entries()) {
    if (isPresent[index]) continue;
    const name = pack.name.toString("hex");
    let needed = false;
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frames && !needed; frame++) {
      needed = live[frame] === 1 && !frames.copiesOf(frame).some((copy) => isPresent[frames.packIndexOf(copy)]);
    }
    if (needed) problem("error", packObjectName(name), `it is missing${neededBy(index)}`);
    else problem("note", packObjectName(name), "an index lists it, but it is gone, and nothing needs it");
  }
}

/** Which snapshots need a frame of the pack (by its number in the table), in words. */
type NeededBy = (pack: number) => string;

const IDS_SHOWN = 5;

function createNeededBy(frames: FrameTable, snapshots: readonly SnapshotRecord[]): NeededBy {
  let needing: { count: number; last: string[] }[] | undefined;

  function count(): { count: number; last: string[] }[] {
    const counted = frames.packs.map(() => ({ count: 0, last: [] as string[] }));
    for (const snapshot of snapshots) {
      const packs = new Set<number>();
      forEachFrameOf(frames, snapshot, (frame) => {
        for (const copy of [frame, ...frames.copiesOf(frame)]) packs.add(frames.packIndexOf(copy));
      });
      for (const pack of packs) {
        counted[pack].count++;
        counted[pack].last.push(snapshot.id.slice(0, SHORT_ID_LENGTH));
        if (counted[pack].last.length > IDS_SHOWN) counted[pack].last.shift();
      }
    }
    return counted;
  }

  return (pack) => {
    needing ??= count();
    const { count: snapshotCount, last } = needing[pack];
    if (snapshotCount === 0) return "; no snapshot needs it";
    return `; needed by ${snapshotCount} snapshot(s): ${snapshotCount > IDS_SHOWN ? "…, " : ""}${last.join(", ")}`;
  };
}

async function checkTrees(
  { storage, config, signal }: CheckOptions,
  ring: KeyRing,
  snapshots: readonly SnapshotRecord[],
  report: (problems: readonly CheckProblem[]) => void,
): Promise<number> {
  const repository = { storage, config, ring, keyId: undefined };
  let reader = await openFrameReader(repository);
  let checker = createTreeChecker(reader);

  async function problemsOf(snapshot: SnapshotRecord): Promise<readonly string[]> {
    try {
      const opened = openSnapshot(repository, snapshot);
      const { problems, neededFrames } = await checker.check(opened.sealed.root);
      const unnamed = await countBlobsOutsideFrameSet(repository, reader, opened, neededFrames);
      if (unnamed === 0) return problems;
      return [...problems, `it needs ${unnamed} blob(s) that are in no frame which its frame set names`];
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return [messageOf(error)];
    }
  }

  for (const snapshot of snapshots) {
    signal?.throwIfAborted();
    let problems: readonly string[];
    for (let looks = 1; ; looks++) {
      const { index } = reader;
      problems = await problemsOf(snapshot);
      if (reader.index === index || looks === LOOKS_AT_MOST) break;
      // Packs were rewritten meanwhile: numbers of frames from before say nothing any more.
      reader = await openFrameReader(repository);
      checker = createTreeChecker(reader);
    }
    if (problems.length === 0) continue;
    // Of one that was forgotten meanwhile, nothing need be there any more.
    if ((await storage.stat(PREFIXES.snapshot + snapshot.id)) === undefined) continue;
    const object = `snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)}`;
    report(problems.map((message) => ({ severity: "error", object, message })));
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

/** What `checkPack` gives for a pack that is not there any more. */
const VANISHED = Symbol("vanished");

/** Reads a whole pack; what is wrong with it, or undefined. */
async function checkPack(
  { storage, config }: CheckOptions,
  index: CheckedIndex,
  verify: FrameVerifier,
  name: string,
  listed: PackRow | undefined,
): Promise<string | typeof VANISHED | undefined> {
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
    if (error instanceof ObjectMissingError) return VANISHED;
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
