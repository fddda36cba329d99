import { checksum16, sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, LockedError } from "../errors.ts";
import { type Condemned, encodeCondemned } from "../format/condemned.ts";
import { PREFIXES } from "../format/names.ts";
import { type FrameName, packObjectName } from "../format/pack.ts";
import { choosePacksToRepack, type PackUse } from "./choose-packs.ts";
import type { FrameTable, Superseded } from "./frame-table.ts";
import type { Storage } from "../storage/storage.ts";
import { indexesToMerge, keepingPacks, rewriteIndexes } from "./index-compaction.ts";
import { type CondemnedList, loadIndex, type LoadedIndex, readPackBlobs } from "./index-loader.ts";
import { createIndexWriter } from "./index-writer.ts";
import { layAnew, type SupersededFrame } from "./lay-anew.ts";
import { findLiveFrames } from "./live-frames.ts";
import { createPackWriter } from "./pack-writer.ts";
import type { Repository } from "./repository.ts";
import { isDiscFull, listRunning, notePruning, type PruneNote, removeNotesLeftBehind } from "./running.ts";
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
  /** Looks inside of frames for what is unused, however much of trees must be read to know. */
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

const LOAD_OPTIONS = { forWriting: true, keepCondemned: true, framesOnly: true } as const;

const DEFAULT_MAX_UNUSED_RATIO = 0.05;
const SMALL_INDEX_BYTES = 512 * 1024;
/** While it deletes, a prune looks now and then whether it is still thought to be alive. */
const LOOK_AGAIN_MS = 1000;

export async function prune(repository: Repository, options: PruneOptions = {}): Promise<PruneResult> {
  if (options.dryRun === true) return pruneNoted(repository, options, undefined);
  const note = await notePruning(repository.storage);
  try {
    return await pruneNoted(repository, options, note);
  } finally {
    await note.remove();
  }
}

async function pruneNoted(
  repository: Repository,
  options: PruneOptions,
  note: PruneNote | undefined,
): Promise<PruneResult> {
  const step = options.onStep ?? ((): void => undefined);
  step("reading snapshots and indexes");
  const snapshots = await listSnapshots(repository);
  const laidAnew = await freeInsideOfFrames(repository, snapshots, options, step);
  const loaded = await loadIndex(repository, LOAD_OPTIONS);
  const { frames } = loaded;
  const superseded = inTable(frames, laidAnew);
  const { live, missing } = findLiveFrames(frames, snapshots, superseded);
  preferLastingCopies(loaded, live);
  const uses = packUses(loaded, live);
  const totalBytes = uses.reduce((sum, pack) => sum + pack.sizeBytes, 0);
  const unusedBytes = uses.reduce((sum, pack) => sum + (pack.liveBytes === 0 ? pack.sizeBytes : pack.wastedBytes), 0);
  const usedBytes = totalBytes - unusedBytes;

  // A pack that no index lists is most likely one that a running backup has just stored.
  const { running } = await listRunning(repository.storage);
  const unlisted = new Set(running.length === 0 ? [] : loaded.unlisted.map((pack) => pack.name.toString("hex")));
  const unused = uses.filter((pack) => pack.liveBytes === 0 && !unlisted.has(pack.name));
  const repack = choosePacksToRepack(
    uses.filter((pack) => pack.liveBytes > 0),
    {
      allowedUnusedBytes: usedBytes * (options.maxUnusedRatio ?? DEFAULT_MAX_UNUSED_RATIO),
      maximumBytes: options.maxRepackBytes ?? Number.POSITIVE_INFINITY,
      // Else they would be laid anew each time.
      mustGo: packsOf(frames, superseded),
    },
  );
  const plan = {
    packs: uses.length,
    totalBytes,
    usedBytes,
    unusedBytes,
    unusedPacks: unused.length,
    repackedPacks: repack.length,
    copiedBytes: repack.reduce((sum, pack) => sum + pack.liveBytes, 0),
    damagedSnapshots: missing,
  };
  const candidates = [...unused, ...repack];
  const garbage = missing.size === 0 ? candidates : await sparePacksNotFullyListed(repository, frames, candidates);
  const garbageBytes = garbage.reduce((sum, pack) => sum + pack.sizeBytes, 0);
  if (options.dryRun === true) {
    const freedBytes = garbageBytes - plan.copiedBytes;
    return { ...plan, deletedPacks: garbage.length, freedBytes, waitingPacks: 0, waitingFor: [] };
  }

  if (repack.length > 0) step(`writing ${repack.length} packs anew`);
  const added = await copyLiveFrames(repository, loaded, live, garbage, options.signal);
  const sizes = new Map(Array.from(frames.packs, (pack) => [pack.name.toString("hex"), pack.sizeBytes]));
  const fresh = garbage.filter((pack) => !loaded.condemned.has(pack.name));
  const packsToDelete = fresh.length + loaded.condemned.size;
  // From here on it goes through: what it does is short, and broken off it would only have to be done again.
  options.signal?.throwIfAborted();
  if (packsToDelete > 0) step(`deleting ${packsToDelete} packs`);
  const deletion = { repository, note, added, knownSnapshots: new Set(snapshots), laidAnew };
  const outcome = await deletePacks(deletion, loaded.condemnedLists, fresh);
  return {
    ...plan,
    deletedPacks: outcome.deleted.length,
    freedBytes: outcome.deleted.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0) - plan.copiedBytes,
    waitingPacks: outcome.waiting.reduce((sum, { packs }) => sum + packs.length, 0),
    waitingFor: outcome.waitingFor,
  };
}

/** Lays what is needed of sparse frames into new ones, if nobody is writing who might count on the old ones. */
async function freeInsideOfFrames(
  repository: Repository,
  snapshots: readonly SnapshotRecord[],
  options: PruneOptions,
  onStep: (step: string) => void,
): Promise<readonly SupersededFrame[]> {
  const { maxUnusedRatio = DEFAULT_MAX_UNUSED_RATIO, maxRepackBytes = Number.POSITIVE_INFINITY } = options;
  const isPossible = options.dryRun !== true && repository.ring.privateKey !== undefined && maxRepackBytes > 0;
  if (!isPossible) return [];
  if ((await listRunning(repository.storage)).running.length > 0) return [];
  const index = await loadIndex(repository, { forWriting: true });
  const { live, missing } = findLiveFrames(index.frames, snapshots);
  if (missing.size > 0) return [];
  const { thorough = false, signal } = options;
  return layAnew(repository, {
    index,
    snapshots,
    live,
    uses: packUses(index, live),
    thorough,
    maxUnusedRatio,
    maxRepackBytes,
    onStep,
    signal,
  });
}

function inTable(frames: FrameTable, superseded: readonly SupersededFrame[]): Superseded {
  const numberOf = ({ origin, number }: FrameName<Uint8Array>): number => frames.find(Buffer.from(origin), number);
  return new Map(
    superseded.flatMap(({ name, standIns }) => {
      const frame = numberOf(name);
      const numbers = standIns.map(numberOf);
      // What is gone already was deleted by another prune: then it is for the notes to say what stands for what.
      return frame < 0 ? [] : [[frame, numbers.includes(-1) ? undefined : numbers] as const];
    }),
  );
}

function packsOf(frames: FrameTable, superseded: Superseded): Set<string> {
  const copies = [...superseded.keys()].flatMap((frame) => (frame < 0 ? [] : [frame, ...frames.copiesOf(frame)]));
  return new Set(copies.map((frame) => frames.packOf(frame).name.toString("hex")));
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
    let wastedBytes = 0;
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frames; frame++) {
      const { length } = frames.locate(frame);
      if (live[frame] === 1) liveBytes += length;
      else wastedBytes += length;
    }
    // What was condemned before, and is needed by nobody, is already on its way out.
    if (condemned.has(name) && liveBytes === 0) return [];
    return [{ name, index, sizeBytes: pack.sizeBytes, liveBytes, wastedBytes }];
  });
}

/**
 * Where snapshots need frames that seem to be nowhere, indexes may be wrong. Then only those packs go of which they say all
 * that the pack itself does.
 */
async function sparePacksNotFullyListed(
  repository: Repository,
  frames: FrameTable,
  packs: readonly PackUse[],
): Promise<readonly PackUse[]> {
  const listed: PackUse[] = [];
  for (const pack of packs) {
    try {
      const { frames: stored } = await readPackBlobs(repository, pack.name, pack.sizeBytes);
      const isListed = stored.every(({ origin, number }) => frames.find(Buffer.from(origin), number) >= 0);
      if (isListed) listed.push(pack);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
    }
  }
  return listed;
}

/**
 * Copies the live frames of `garbage` as they are into new packs, and lists those. Gives the names of the new packs, none
 * of which is among the garbage: a prune that broke off may have left the same copies.
 */
async function copyLiveFrames(
  repository: Repository,
  { frames, unlisted, condemned }: LoadedIndex,
  live: Uint8Array,
  garbage: readonly PackUse[],
  signal: AbortSignal | undefined,
): Promise<Set<string>> {
  const { storage, ring } = repository;
  const going = new Set([...condemned, ...garbage.map(({ name }) => name)]);
  const added = new Set<string>();
  const indexes = createIndexWriter(repository);
  for (const pack of unlisted) {
    if (pack.frames.some((frame) => live[frames.find(Buffer.from(frame.origin), frame.number)] === 1))
      await indexes.add(pack);
  }
  const writer = createPackWriter(
    storage,
    ring.repositoryId,
    (pack) => {
      added.add(pack.name.toString("hex"));
      return indexes.add(pack);
    },
    (name) => going.has(name),
  );
  for (const { name, index, sizeBytes, liveBytes } of garbage) {
    if (liveBytes === 0) continue;
    const { firstFrame, frames: count } = frames.packs[index];
    const { frames: stored } = await readPackBlobs(repository, name, sizeBytes);
    if (stored.length !== count) {
      throw new DamagedError(`an index says something else of pack ${name.slice(0, 16)}… than the pack itself`, {
        hint: 'nothing was deleted; run "holdfast repair index"',
      });
    }
    for (const [place, frame] of stored.entries()) {
      if (live[firstFrame + place] !== 1) continue;
      signal?.throwIfAborted();
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

/** What stays the same for all steps of deleting. */
interface Deletion {
  readonly repository: Repository;
  /** Packs that this prune has stored. */
  readonly added: ReadonlySet<string>;
  readonly note: PruneNote | undefined;
  /** Snapshots that were looked at when it was decided what is garbage, */
  readonly knownSnapshots: ReadonlySet<SnapshotRecord>;
  /** and frames that these do not need any more, as others stand for them. */
  readonly laidAnew: readonly SupersededFrame[];
}

interface Outcome {
  readonly deleted: readonly string[];
  readonly waiting: readonly CondemnedList[];
  readonly waitingFor: readonly string[];
}

/** Condemns what is `fresh` garbage, and deletes what was condemned, as far as nobody may count on it any more. */
async function deletePacks(
  deletion: Deletion,
  lists: readonly CondemnedList[],
  fresh: readonly PackUse[],
): Promise<Outcome> {
  if (fresh.length === 0) return deleteCondemned(deletion, lists);
  const { storage } = deletion.repository;
  const packs = fresh.map(({ name }) => name);
  const list = await storeListIfThereIsRoom(storage, packs);
  if (list !== undefined) return deleteCondemned(deletion, [...lists, list]);
  // A full disc has no room for the list, and to make room is what pruning is for. So one pack goes first, with a list as
  // short as can be, or without: who begins to save meanwhile could hardly store so much as a note of it.
  const [largest, ...rest] = fresh.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  const short = (await storeListIfThereIsRoom(storage, [largest.name])) ?? { ...newList([largest.name]), name: "" };
  const outcome = await deleteCondemned(deletion, [...lists, short]);
  if (outcome.deleted.length === 0 || rest.length === 0) return outcome;
  const others = await deletePacks(deletion, outcome.waiting, rest);
  return { ...others, deleted: [...outcome.deleted, ...others.deleted] };
}

async function deleteCondemned(deletion: Deletion, lists: readonly CondemnedList[]): Promise<Outcome> {
  const { repository, added } = deletion;
  const { storage } = repository;
  const { running } = await removeNotesLeftBehind(storage);
  const alive = new Set(running.map(({ run }) => run));
  // With the condemnation durable, whoever starts now will see it; whoever has ended has left a snapshot to be seen here.
  const loaded = await loadIndex(repository, LOAD_OPTIONS);
  const needed = await findNeededPacks(deletion, loaded, new Set(lists.flatMap(({ packs }) => packs)));

  /** Only those who were writing when it was condemned may count on a pack. */
  const isDue = ({ runs }: CondemnedList): boolean =>
    runs === undefined ? alive.size === 0 : !runs.some((run) => alive.has(run));
  const due = lists.filter(isDue);
  const waiting: CondemnedList[] = [];
  for (const list of lists) {
    if (isDue(list)) continue;
    const packs = list.packs.filter((pack) => !needed.has(pack));
    const isAsItWas = list.runs !== undefined && packs.length === list.packs.length;
    waiting.push(...(isAsItWas ? [list] : await replaceList(storage, list, packs, list.runs ?? [...alive])));
  }
  const doomed = [...new Set(due.flatMap(({ packs }) => packs))].filter((pack) => !needed.has(pack));
  if (doomed.length > 0) await assertIsOurs(deletion.note, storage.location);
  let lookedMs = Date.now();
  if (doomed.length > 0 || alive.size === 0) await dropFromIndexes(repository, loaded, new Set(doomed), added);
  // Broken off in between, what was laid anew is there again in its old place, and copies of earlier tries are not.
  const old = packsOf(loaded.frames, inTable(loaded.frames, deletion.laidAnew));
  const inOrder = [...doomed.filter((name) => !old.has(name)), ...doomed.filter((name) => old.has(name))];
  for (const name of inOrder) {
    if (Date.now() - lookedMs > LOOK_AGAIN_MS) {
      await assertIsOurs(deletion.note, storage.location);
      lookedMs = Date.now();
    }
    await storage.delete(packObjectName(name));
  }
  for (const { name } of due) if (name !== "") await storage.delete(name);
  const waitsFor = new Set(waiting.flatMap(({ runs = [] }) => runs));
  const notes = running.filter(({ run }) => waitsFor.has(run));
  const waitingFor = notes.map((note) => `${note.what} on ${note.host} (process ${note.process})`);
  return { deleted: doomed, waiting, waitingFor };
}

/**
 * A prune whose machine slept for days, or whose note somebody removed, may have been taken for dead. Another may then be at
 * work that counts on what this one is about to delete.
 */
async function assertIsOurs(note: PruneNote | undefined, location: string): Promise<void> {
  if (note === undefined || (await note.isOurs())) return;
  throw new LockedError(
    `this prune of ${location} was taken for dead, and stops before it deletes what is needed again`,
    {
      hint: "nothing is lost; run it again",
    },
  );
}

/** Of condemned packs, those that snapshots need after all. */
async function findNeededPacks(
  { repository, knownSnapshots, laidAnew }: Deletion,
  loaded: LoadedIndex,
  condemned: ReadonlySet<string>,
): Promise<Set<string>> {
  const { frames } = loaded;
  const snapshots = await listSnapshots(repository, undefined, [...knownSnapshots]);
  const known = snapshots.filter((snapshot) => knownSnapshots.has(snapshot));
  // Of a snapshot that nobody has looked into, all that it names is needed as it is.
  const fresh = snapshots.filter((snapshot) => !knownSnapshots.has(snapshot));
  const names = frames.packs.map(({ name }) => name.toString("hex"));
  // Another prune, if there is one after all, may be about to delete others than we are.
  const isGoing = names.map((name) => condemned.has(name) || loaded.condemned.has(name));
  const stays = (frame: number): boolean =>
    [frame, ...frames.copiesOf(frame)].some((copy) => !isGoing[frames.packIndexOf(copy)]);
  const superseded = inTable(frames, laidAnew);
  const certain = new Map([...superseded].filter(([, standIns]) => standIns?.every(stays) === true));
  const lives = [findLiveFrames(frames, known, certain).live, findLiveFrames(frames, fresh).live];
  // The other may also have laid frames anew, count on its own stand-ins for what it is about to delete, and have taken
  // ours for garbage as we took those. So where a frame may go, all count of which notes say that they stand for it.
  const uncertain = Array.from({ length: frames.count() }, (_, frame) => frame).filter((frame) => !stays(frame));
  const asNoted = (exceptions: Superseded): Superseded =>
    new Map(uncertain.flatMap((frame) => (exceptions.has(frame) ? [] : [[frame, undefined] as const])));
  const certainToo = new Map([...asNoted(certain), ...certain]);
  lives.push(findLiveFrames(frames, known, certainToo).live, findLiveFrames(frames, fresh, asNoted(new Map())).live);
  const needed = new Set<string>();
  for (const live of lives) {
    live.forEach((isLive, frame) => {
      if (isLive !== 1 || !isGoing[frames.packIndexOf(frame)]) return;
      const packs = [frame, ...frames.copiesOf(frame)].map((copy) => frames.packIndexOf(copy));
      // One copy that stays is enough.
      if (packs.every((pack) => isGoing[pack])) for (const pack of packs) needed.add(names[pack]);
    });
  }
  return needed;
}

function newList(packs: readonly string[], runs?: readonly string[]): Condemned {
  return { packs: packs.toSorted(), time: new Date().toISOString(), runs };
}

async function storeList(storage: Storage, list: Condemned): Promise<CondemnedList> {
  const bytes = encodeCondemned(list);
  const name = PREFIXES.condemned + sha256Hex(bytes);
  await storage.put(name, [bytes]);
  return { ...list, name };
}

/** Undefined where the disc is too full for it. */
async function storeListIfThereIsRoom(storage: Storage, packs: readonly string[]): Promise<CondemnedList | undefined> {
  try {
    return await storeList(storage, newList(packs));
  } catch (error) {
    if (isDiscFull(error)) return undefined;
    throw error;
  }
}

/** Stores what a list is to say from now on, if anything, and then deletes it. */
async function replaceList(
  storage: Storage,
  list: CondemnedList,
  packs: readonly string[],
  runs: readonly string[],
): Promise<CondemnedList[]> {
  try {
    const replaced = packs.length === 0 ? [] : [await storeList(storage, { ...list, packs, runs })];
    if (list.name !== "") await storage.delete(list.name);
    return replaced;
  } catch (error) {
    if (!isDiscFull(error)) throw error;
    // It waits until nobody is writing.
    return list.name === "" ? [] : [list];
  }
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
