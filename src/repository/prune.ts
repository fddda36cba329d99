import { checksum16, sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError } from "../errors.ts";
import { encodeCondemned } from "../format/condemned.ts";
import { PREFIXES } from "../format/names.ts";
import { type FrameName, packObjectName } from "../format/pack.ts";
import type { FrameTable } from "./frame-table.ts";
import type { Running } from "../format/running.ts";
import { indexesToMerge, keepingPacks, rewriteIndexes } from "./index-compaction.ts";
import { loadIndex, type LoadedIndex, readPackBlobs } from "./index-loader.ts";
import { createIndexWriter } from "./index-writer.ts";
import { layAnew } from "./lay-anew.ts";
import { findLiveFrames } from "./live-frames.ts";
import { createPackWriter, PACK_TARGET_BYTES } from "./pack-writer.ts";
import type { Repository } from "./repository.ts";
import { isDiscFull, listRunning, notePruning } from "./running.ts";
import { listSnapshots, type SnapshotRecord } from "./snapshots.ts";

/**
 * Frees the space of what no snapshot needs, beside running backups and without reading a tree.
 *
 * 0. With the right to read, and if nobody is writing, frames in which most is unused are laid anew: see `lay-anew.ts`.
 * 1. What is live is the union of the snapshots' frame sets. Packs without a live frame are garbage; packs with little
 *    that is live are written anew: their live frames are copied as they are, listed in an index, and the old pack is
 *    garbage too. A crash until here leaves copies, which the next prune finds.
 * 2. Garbage is *condemned*: a list of the packs is stored. From then on a backup that starts does not count on them.
 * 3. A backup that was under way before may have counted on them, so: if notes in `running/` tell of one, the list stays
 *    for a later prune. If there is none, the snapshots are read once more (a backup may have ended in between), packs
 *    that are needed after all are struck off, new indexes without the rest are stored, and the packs are deleted, and
 *    last the list. A crash in between leaves the list, and the next prune goes on from there.
 */
export interface PruneOptions {
  readonly dryRun?: boolean | undefined;
  /** How much of the repository may stay unused rather than be written anew, as a part of its size. */
  readonly maxUnusedRatio?: number | undefined;
  /** Writes anew at most this much in one prune. */
  readonly maxRepackBytes?: number | undefined;
  /** Looks inside of frames for what is unused, however many trees must be read to know. */
  readonly thorough?: boolean | undefined;
  readonly onStep?: ((step: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface PruneResult {
  readonly packs: number;
  readonly totalBytes: number;
  /** Frames that snapshots need. */
  readonly usedBytes: number;
  readonly unusedBytes: number;
  /** Packs without anything that is needed, and packs that are written anew. */
  readonly unusedPacks: number;
  readonly repackedPacks: number;
  /** Live bytes that are copied. */
  readonly copiedBytes: number;
  /** What was deleted; in a dry run, what would be. */
  readonly deletedPacks: number;
  readonly freedBytes: number;
  /** Packs that are only marked, because of whoever is writing now. */
  readonly waitingPacks: number;
  readonly waitingFor: readonly string[];
  /** Snapshots that need frames which are nowhere. */
  readonly damagedSnapshots: ReadonlyMap<string, number>;
}

interface PackUse {
  readonly name: string;
  readonly index: number;
  readonly sizeBytes: number;
  readonly liveBytes: number;
}

const LOAD_OPTIONS = { forWriting: true, keepCondemned: true, framesOnly: true } as const;

const DEFAULT_MAX_UNUSED_RATIO = 0.05;
/** Packs below this part of the usual size are merged, when there are many. */
const SMALL_PACK_RATIO = 0.25;
const SMALL_PACKS_TO_MERGE = 16;
const SMALL_INDEX_BYTES = 512 * 1024;

export async function prune(repository: Repository, options: PruneOptions = {}): Promise<PruneResult> {
  if (options.dryRun === true) return pruneNoted(repository, options);
  const note = await notePruning(repository.storage);
  try {
    return await pruneNoted(repository, options);
  } finally {
    await note.remove();
  }
}

async function pruneNoted(repository: Repository, options: PruneOptions): Promise<PruneResult> {
  const step = options.onStep ?? ((): void => undefined);
  step("reading snapshots and indexes");
  const snapshots = await listSnapshots(repository);
  const laidAnew = await freeInsideOfFrames(repository, snapshots, options, step);
  const loaded = await loadIndex(repository, LOAD_OPTIONS);
  const { frames } = loaded;
  const superseded = numbersOf(frames, laidAnew);
  const { live, missing } = findLiveFrames(frames, snapshots, superseded);
  preferLastingCopies(loaded, live);
  const uses = packUses(loaded, live);
  const totalBytes = uses.reduce((sum, pack) => sum + pack.sizeBytes, 0);
  const usedBytes = uses.reduce((sum, pack) => sum + pack.liveBytes, 0);

  // A pack that no index lists is most likely one that a running backup has just stored.
  const { running } = await listRunning(repository.storage);
  const unlisted = new Set(running.length === 0 ? [] : loaded.unlisted.map((pack) => pack.name.toString("hex")));
  const unused = uses.filter((pack) => pack.liveBytes === 0 && !unlisted.has(pack.name));
  const repack = choosePacksToRepack(
    uses.filter((pack) => pack.liveBytes > 0),
    usedBytes * (options.maxUnusedRatio ?? DEFAULT_MAX_UNUSED_RATIO),
    options.maxRepackBytes ?? Number.POSITIVE_INFINITY,
  );
  const plan = {
    packs: uses.length,
    totalBytes,
    usedBytes,
    unusedBytes: totalBytes - usedBytes,
    unusedPacks: unused.length,
    repackedPacks: repack.length,
    copiedBytes: repack.reduce((sum, pack) => sum + pack.liveBytes, 0),
    damagedSnapshots: missing,
  };
  const garbage = [...unused, ...repack];
  const garbageBytes = garbage.reduce((sum, pack) => sum + pack.sizeBytes, 0);
  if (options.dryRun === true) {
    const freedBytes = garbageBytes - plan.copiedBytes;
    return { ...plan, deletedPacks: garbage.length, freedBytes, waitingPacks: 0, waitingFor: [] };
  }

  if (repack.length > 0) step(`writing ${repack.length} packs anew`);
  const added = await copyLiveFrames(repository, loaded, live, repack, options.signal);
  const sizes = new Map(Array.from(frames.packs, (pack) => [pack.name.toString("hex"), pack.sizeBytes]));
  const condemned = new Map([...loaded.condemned].map((name) => [name, sizes.get(name) ?? 0]));
  for (const pack of garbage) condemned.set(pack.name, pack.sizeBytes);
  step(`deleting ${condemned.size} packs`);
  const isListed = garbage.every((pack) => loaded.condemned.has(pack.name));
  const all = { packs: condemned, lists: loaded.condemnedLists, isListed };
  const outcome = await deletePacks(repository, all, added, snapshots, laidAnew);
  return {
    ...plan,
    deletedPacks: outcome.deleted.length,
    freedBytes: outcome.deleted.reduce((sum, name) => sum + (condemned.get(name) ?? 0), 0) - plan.copiedBytes,
    waitingPacks: outcome.waiting.length,
    waitingFor: outcome.waitingFor,
  };
}

/** Lays what is needed of sparse frames into new ones, if nobody is writing who might count on the old ones. */
async function freeInsideOfFrames(
  repository: Repository,
  snapshots: readonly SnapshotRecord[],
  options: PruneOptions,
  onStep: (step: string) => void,
): Promise<readonly FrameName<Uint8Array>[]> {
  const isPossible = options.dryRun !== true && repository.ring.privateKey !== undefined;
  if (!isPossible) return [];
  if ((await listRunning(repository.storage)).running.length > 0) return [];
  const index = await loadIndex(repository, { forWriting: true });
  const { live, missing } = findLiveFrames(index.frames, snapshots);
  if (missing.size > 0) return [];
  let liveBytes = 0;
  live.forEach((isLive, frame) => {
    if (isLive === 1) liveBytes += index.frames.locate(frame).length;
  });
  const ignoredBytes = liveBytes * (options.maxUnusedRatio ?? DEFAULT_MAX_UNUSED_RATIO);
  const { thorough = false, signal } = options;
  return (await layAnew(repository, { index, snapshots, live, thorough, ignoredBytes, onStep, signal })).superseded;
}

function numbersOf(frames: FrameTable, names: readonly FrameName<Uint8Array>[]): Set<number> {
  return new Set(names.map(({ origin, number }) => frames.find(Buffer.from(origin), number)));
}

/** Of a frame in several packs only one copy is needed: one that is not condemned already. */
function preferLastingCopies({ frames, condemned }: LoadedIndex, live: Uint8Array): void {
  const isCondemned = (frame: number): boolean => condemned.has(frames.packOf(frame).name.toString("hex"));
  live.forEach((isLive, frame) => {
    if (isLive !== 1 || frames.copiesOf(frame).length === 0 || !isCondemned(frame)) return;
    const lasting = frames.copiesOf(frame).find((copy) => !isCondemned(copy));
    if (lasting === undefined) return;
    live[frame] = 0;
    live[lasting] = 1;
  });
}

function packUses({ frames, condemned }: LoadedIndex, live: Uint8Array): PackUse[] {
  return frames.packs.flatMap((pack, index) => {
    const name = pack.name.toString("hex");
    let liveBytes = 0;
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frames; frame++) {
      if (live[frame] === 1) liveBytes += frames.locate(frame).length;
    }
    // What was condemned before, and is needed by nobody, is already on its way out.
    if (condemned.has(name) && liveBytes === 0) return [];
    return [{ name, index, sizeBytes: pack.sizeBytes, liveBytes }];
  });
}

/** The emptiest packs first, until no more is unused than may be; and small packs, if there are many of them. */
function choosePacksToRepack(uses: readonly PackUse[], allowedUnusedBytes: number, maximumBytes: number): PackUse[] {
  const overhead = (pack: PackUse): number => pack.sizeBytes - pack.liveBytes;
  // A pack's header and directory are not waste that copying would win back.
  const isPartlyUnused = (pack: PackUse): boolean => overhead(pack) > pack.sizeBytes * 0.02 + 4096;
  const byWaste = uses
    .filter(isPartlyUnused)
    .sort((a, b) => overhead(b) / b.sizeBytes - overhead(a) / a.sizeBytes || (a.name < b.name ? -1 : 1));
  const chosen = new Set<PackUse>();
  let unusedBytes = byWaste.reduce((sum, pack) => sum + overhead(pack), 0);
  let copiedBytes = 0;
  function choose(pack: PackUse): void {
    if (chosen.has(pack) || copiedBytes + pack.liveBytes > maximumBytes) return;
    chosen.add(pack);
    copiedBytes += pack.liveBytes;
    unusedBytes -= overhead(pack);
  }
  for (const pack of byWaste) {
    if (unusedBytes <= allowedUnusedBytes) break;
    choose(pack);
  }
  const small = uses.filter((pack) => pack.sizeBytes < PACK_TARGET_BYTES * SMALL_PACK_RATIO);
  if (small.length >= SMALL_PACKS_TO_MERGE) small.forEach(choose);
  return [...chosen];
}

/** Copies sealed frames into new packs, and lists those. Gives the names of the new packs. */
async function copyLiveFrames(
  repository: Repository,
  { frames, unlisted }: LoadedIndex,
  live: Uint8Array,
  packs: readonly PackUse[],
  signal: AbortSignal | undefined,
): Promise<Set<string>> {
  const { storage, ring } = repository;
  const added = new Set<string>();
  const indexes = createIndexWriter(repository);
  for (const pack of unlisted) {
    if (pack.frames.some((frame) => live[frames.find(Buffer.from(frame.origin), frame.number)] === 1))
      await indexes.add(pack);
  }
  const writer = createPackWriter(storage, ring.repositoryId, (pack) => {
    added.add(pack.name.toString("hex"));
    return indexes.add(pack);
  });
  for (const { name, index, sizeBytes } of packs) {
    signal?.throwIfAborted();
    const { firstFrame } = frames.packs[index];
    const { frames: stored } = await readPackBlobs(repository, name, sizeBytes);
    for (const [place, frame] of stored.entries()) {
      if (live[firstFrame + place] !== 1) continue;
      const { offset, length, ...rest } = frame;
      const record = await storage.get(packObjectName(name), { offset, length });
      if (!checksum16(record).equals(frame.checksum)) {
        throw new DamagedError(`pack ${name.slice(0, 16)}… is damaged: frame ${frame.number} is not what it was`, {
          hint: 'nothing was deleted; run "holdfast check --read-data" and "holdfast repair"',
        });
      }
      writer.add({ ...rest, record });
      await writer.ready();
    }
  }
  await writer.finish();
  await indexes.flush();
  return added;
}

interface Deletion {
  readonly deleted: readonly string[];
  readonly waiting: readonly string[];
  readonly waitingFor: readonly string[];
}

interface Garbage {
  /** Names and sizes of packs that are to be deleted. */
  readonly packs: ReadonlyMap<string, number>;
  /** Objects under `condemned/` that name such packs, and no others. */
  readonly lists: readonly string[];
  /** Whether those name all of them. */
  readonly isListed: boolean;
}

async function deletePacks(
  repository: Repository,
  garbage: Garbage,
  added: ReadonlySet<string>,
  knownSnapshots: readonly SnapshotRecord[],
  laidAnew: readonly FrameName<Uint8Array>[],
): Promise<Deletion> {
  const deleteNow = (listed: Garbage): Promise<Deletion> =>
    deleteCondemned(repository, listed, added, knownSnapshots, laidAnew);
  const condemned = await condemn(repository, garbage);
  if (condemned !== undefined) return deleteNow(condemned);
  // A full disc has no room for the list, and to make room is what pruning is for. So one pack goes first, with a list as
  // short as can be, or without: who begins to save meanwhile could hardly store so much as a note of it.
  const [largest, ...rest] = [...garbage.packs].sort(([, a], [, b]) => b - a);
  const first: Garbage = { packs: new Map([largest]), lists: [], isListed: false };
  const outcome = await deleteNow((await condemn(repository, first)) ?? first);
  if (outcome.deleted.length === 0 || rest.length === 0) return outcome;
  const others = await deletePacks(repository, { ...garbage, packs: new Map(rest) }, added, knownSnapshots, laidAnew);
  return { ...others, deleted: [...outcome.deleted, ...others.deleted] };
}

async function deleteCondemned(
  repository: Repository,
  { packs: condemned, lists }: Garbage,
  added: ReadonlySet<string>,
  knownSnapshots: readonly SnapshotRecord[],
  laidAnew: readonly FrameName<Uint8Array>[],
): Promise<Deletion> {
  const { storage } = repository;
  const running = await removeNotesLeftBehind(repository);
  // With the condemnation durable, whoever starts now will see it; whoever has ended has left a snapshot to be seen here.
  const loaded = await loadIndex(repository, LOAD_OPTIONS);
  const snapshots = await listSnapshots(repository, undefined, knownSnapshots);
  const { live } = findLiveFrames(
    loaded.frames,
    snapshots.filter((snapshot) => knownSnapshots.includes(snapshot)),
    numbersOf(loaded.frames, laidAnew),
  );
  // Of a snapshot that nobody has looked into, all that it names is needed as it is.
  const fresh = snapshots.filter((snapshot) => !knownSnapshots.includes(snapshot));
  findLiveFrames(loaded.frames, fresh).live.forEach((isLive, frame) => {
    if (isLive === 1) live[frame] = 1;
  });
  const needed = new Set<string>();
  live.forEach((isLive, frame) => {
    if (isLive !== 1) return;
    const copies = [frame, ...loaded.frames.copiesOf(frame)].map((copy) =>
      loaded.frames.packOf(copy).name.toString("hex"),
    );
    // One copy that stays is enough. Another prune, if there is one after all, may be about to delete others than we are.
    if (copies.every((pack) => condemned.has(pack) || loaded.condemned.has(pack)))
      copies.forEach((pack) => needed.add(pack));
  });
  const doomed = [...condemned.keys()].filter((name) => !needed.has(name));
  if (running.length > 0) {
    if (doomed.length < condemned.size) await replaceLists(repository, doomed, lists);
    const waitingFor = running.map((note) => `${note.what} on ${note.host} (process ${note.process})`);
    return { deleted: [], waiting: doomed, waitingFor };
  }

  await dropFromIndexes(repository, loaded, new Set(doomed), added);
  for (const name of doomed) await storage.delete(packObjectName(name));
  for (const name of lists) await storage.delete(name);
  return { deleted: doomed, waiting: [], waitingFor: [] };
}

/**
 * Whoever is writing, once all notes are gone whose writers are. It looks again after each removal: a writer that was taken
 * for dead renews its note, and then either sees that its old one is gone, or is seen here.
 */
async function removeNotesLeftBehind({ storage }: Repository): Promise<readonly Running[]> {
  for (;;) {
    const { running, leftBehind } = await listRunning(storage);
    if (leftBehind.length === 0) return running;
    for (const name of leftBehind) await storage.delete(name);
  }
}

/** Stores the list of all garbage in place of the lists there were. Undefined where the disc is too full for that. */
async function condemn(repository: Repository, garbage: Garbage): Promise<Garbage | undefined> {
  const { packs, lists, isListed } = garbage;
  if (isListed || packs.size === 0) return garbage;
  try {
    return { packs, lists: await replaceLists(repository, [...packs.keys()], lists), isListed: true };
  } catch (error) {
    if (isDiscFull(error)) return undefined;
    throw error;
  }
}

/** Stores a list of these packs, and then deletes the lists there were. Gives the new one's name, if there is any need of it. */
async function replaceLists(
  { storage }: Repository,
  packs: readonly string[],
  lists: readonly string[],
): Promise<readonly string[]> {
  const replaced: string[] = [];
  if (packs.length > 0) {
    const bytes = encodeCondemned({ packs: packs.toSorted(), time: new Date().toISOString() });
    const name = PREFIXES.condemned + sha256Hex(bytes);
    await storage.put(name, [bytes]);
    replaced.push(name);
  }
  for (const name of lists) if (!replaced.includes(name)) await storage.delete(name);
  return replaced;
}

async function dropFromIndexes(
  repository: Repository,
  loaded: LoadedIndex,
  doomed: ReadonlySet<string>,
  added: ReadonlySet<string>,
): Promise<void> {
  const small = loaded.objects.filter(({ sizeBytes }) => sizeBytes < SMALL_INDEX_BYTES).map(({ name }) => name);
  const gone = new Set(loaded.missingPacks);
  const affected = new Set(added.size > 0 && small.length > 1 ? small : indexesToMerge(loaded.objects, true));
  for (const { name, packs } of loaded.objects) {
    if (packs.some((pack) => doomed.has(pack) || gone.has(pack))) affected.add(name);
  }
  if (affected.size === 0) return;
  try {
    const keep = keepingPacks(loaded.frames, (pack) => !doomed.has(pack) && !gone.has(pack));
    await rewriteIndexes(repository, [...affected], keep);
  } catch (error) {
    // An index may list packs that are gone: readers look elsewhere, and the next prune tidies up.
    if (!isDiscFull(error)) throw error;
  }
}
