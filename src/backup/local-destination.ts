import type { SigningKey } from "../crypto/signing.ts";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, HoldfastError, ObjectMissingError } from "../errors.ts";
import { encodeFrameSet, type FrameSetOrigin } from "../format/frame-set.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import { packObjectName } from "../format/pack.ts";
import { encodeSnapshot } from "../format/snapshot.ts";
import { boundMalloc } from "../platform/bound-heap.ts";
import type { CommittedSnapshot, Destination, SnapshotToCommit } from "./destination.ts";
import { frameOfBlob } from "../repository/blob-table.ts";
import { listPacks, loadIndex, type LoadedIndex, readCondemned, readPackBlobs } from "../repository/index-loader.ts";
import { indexesToMerge, mergeIndexes } from "../repository/index-compaction.ts";
import { createIndexWriter } from "../repository/index-writer.ts";
import { createPackWriter } from "../repository/pack-writer.ts";
import { type Repository, writerKeys } from "../repository/repository.ts";
import { noteRunning } from "../repository/running.ts";
import { closeSessionBlobs, createSessionBlobs, isClaimed } from "../repository/session-blobs.ts";
import type { StoredObject } from "../storage/storage.ts";

/**
 * A backup's destination in a repository at hand.
 *
 * What a crash leaves behind: before the first pack, a note in running/; then packs that no index lists, which the next
 * run takes in; then indexes of packs that no snapshot needs, which pruning finds; and never a snapshot record that names
 * a frame which is not durable, as the record is stored last.
 */
export interface LocalDestinationOptions {
  readonly signingKey: SigningKey;
  /** When the run began: the snapshot's time. */
  readonly startedMs: number;
  /** What the note in storage says that somebody is at. */
  readonly noteAs?: string | undefined;
}

export async function openLocalDestination(
  repository: Repository,
  options: LocalDestinationOptions,
): Promise<Destination & { readonly index: LoadedIndex }> {
  const { storage, ring } = repository;
  const keys = writerKeys(repository);
  // The index leaves holes in malloc's memory, which would be cleared for the tables of claims, and so be touched.
  boundMalloc();
  const running = await noteRunning(storage, options.noteAs ?? "backup");
  let index: LoadedIndex;
  try {
    index = await loadIndex(repository, { forWriting: true });
  } catch (error) {
    await running.remove().catch(() => undefined);
    throw error;
  }
  const { frames } = index;
  const needed = new Uint8Array(frames.count());
  const newFrames = new Map<string, { origin: Uint8Array; numbers: number[] }>();
  const indexes = createIndexWriter(repository);
  const storedPacks = new Map<string, number>();
  let condemned: ReadonlySet<string> = index.condemned;
  const packs = createPackWriter(
    storage,
    ring.repositoryId,
    (pack) => {
      storedPacks.set(pack.name.toString("hex"), pack.sizeBytes);
      return indexes.add(pack);
    },
    (name) => condemned.has(name),
  );

  for (const pack of index.unlisted) await indexes.add(pack);
  const blobs = createSessionBlobs(index.blobs);

  /** Frames of the repository that the snapshot needs, by origin. */
  function neededFrames(): FrameSetOrigin[] {
    const byOrigin = new Map<number, number[]>();
    needed.forEach((isNeeded, frame) => {
      if (isNeeded === 0) return;
      const origin = frames.originIndexOf(frame);
      const numbers = byOrigin.get(origin);
      if (numbers === undefined) byOrigin.set(origin, [frames.numberOf(frame)]);
      else numbers.push(frames.numberOf(frame));
    });
    const old = [...byOrigin].map(([origin, numbers]) => ({
      origin: frames.origins[origin],
      numbers: Uint32Array.from(numbers).sort(),
    }));
    const added = [...newFrames.values()].map(({ origin, numbers }) => ({
      origin,
      numbers: Uint32Array.from(numbers).sort(),
    }));
    return [...old, ...added];
  }

  /**
   * For a run that was taken for dead: looks for what was condemned or deleted since it began. A needed frame that lies
   * only in condemned packs is copied into a pack of our own (it keeps its name wherever it lies); one that is gone cannot
   * be helped.
   */
  async function secureNeededFrames(): Promise<void> {
    // In this order: pruning deletes packs first and then their condemnation, so one or the other is seen here.
    condemned = await readCondemned(repository);
    const present = await listPacks(repository);
    for (const [name, sizeBytes] of new Map(storedPacks)) {
      if (!present.has(name)) throw packWasDeleted(name);
      if (condemned.has(name)) await copyFrames(name, sizeBytes, () => true);
    }
    const atRisk = await findFramesAtRisk(present);
    const packsAtRisk = new Map<string, { sizeBytes: number; frames: Set<number> }>();
    for (const frame of atRisk) {
      const copies = [frame, ...frames.copiesOf(frame)].map((copy) => frames.packOf(copy));
      const pack = copies.find(({ name }) => present.has(name.toString("hex")));
      if (pack === undefined) throw packWasDeleted(copies[0].name.toString("hex"));
      const name = pack.name.toString("hex");
      const known = packsAtRisk.get(name) ?? { sizeBytes: pack.sizeBytes, frames: new Set<number>() };
      known.frames.add(frame);
      packsAtRisk.set(name, known);
    }
    for (const [name, pack] of packsAtRisk) await copyFrames(name, pack.sizeBytes, (frame) => pack.frames.has(frame));
    await packs.finish();
    await indexes.flush();
  }

  /** Needed frames of the repository that lie in no pack which will stay. */
  async function findFramesAtRisk(present: ReadonlyMap<string, number>): Promise<readonly number[]> {
    const stays = Array.from(frames.packs, ({ name }) => {
      const hex = name.toString("hex");
      return present.has(hex) && !condemned.has(hex);
    });
    const staysSomewhere = (frame: number): boolean =>
      stays[frames.packIndexOf(frame)] || frames.copiesOf(frame).some((copy) => stays[frames.packIndexOf(copy)]);
    const atRisk: number[] = [];
    needed.forEach((isNeeded, frame) => {
      if (isNeeded === 1 && !staysSomewhere(frame)) atRisk.push(frame);
    });
    if (atRisk.length === 0) return atRisk;
    // Pruning copies what is live before it condemns a pack: that copy will do.
    const now = await loadIndex(repository, { forWriting: true, framesOnly: true });
    return atRisk.filter(
      (frame) => now.frames.find(frames.origins[frames.originIndexOf(frame)], frames.numberOf(frame)) < 0,
    );
  }

  /**
   * Pruning that still took the run for dead may not have seen the record in time: then it only counts if all that it needs
   * will stay.
   */
  async function confirm(snapshotName: string): Promise<void> {
    if (await running.isThere()) return;
    try {
      await secureNeededFrames();
    } catch (error) {
      await storage.delete(snapshotName);
      throw error;
    }
  }

  async function copyFrames(packName: string, sizeBytes: number, isWanted: (frame: number) => boolean): Promise<void> {
    try {
      const pack = await readPackBlobs(repository, packName, sizeBytes);
      for (const frame of pack.frames) {
        if (!isWanted(frames.find(Buffer.from(frame.origin), frame.number))) continue;
        const { offset, length, ...rest } = frame;
        packs.add({ ...rest, record: await storage.get(packObjectName(packName), { offset, length }) });
        await packs.ready();
      }
    } catch (error) {
      if (error instanceof ObjectMissingError) throw packWasDeleted(packName, error);
      throw error;
    }
  }

  /** With the snapshot durable, nothing that goes wrong here is of any consequence for it. */
  async function tidyUp(): Promise<void> {
    try {
      // While the note stands, so that pruning does not drop packs from the same indexes.
      if (storage.isTendedElsewhere !== true) await mergeSmallIndexes();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
    try {
      await running.remove();
    } catch (error) {
      // It makes pruning wait for a day.
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  /** A repository that is used every day for years must not slow down though nobody prunes it. */
  async function mergeSmallIndexes(): Promise<void> {
    const objects: StoredObject[] = [];
    for await (const object of storage.list(PREFIXES.index)) {
      if (parseObjectName(object.name) !== undefined) objects.push(object);
    }
    const names = indexesToMerge(objects, false);
    if (names.length > 0) await mergeIndexes(repository, names);
  }

  async function commit(snapshot: SnapshotToCommit): Promise<CommittedSnapshot> {
    await packs.finish();
    await indexes.flush();
    // While its note was there, pruning has deleted nothing that the run counts on, and will not until it sees the record.
    if (!(await running.renewForGood())) await secureNeededFrames();
    const record = encodeSnapshot({
      repositoryId: ring.repositoryId,
      publicKey: ring.publicKey,
      signingKey: options.signingKey,
      open: {
        time: new Date(options.startedMs).toISOString(),
        host: snapshot.host,
        group: snapshot.group.toString("hex"),
        parent: snapshot.parent ?? null,
        ...snapshot.counts,
        sizeBytes: snapshot.sizeBytes,
        addedBytes: snapshot.addedBytes,
        storedBytes: snapshot.storedBytes,
        complete: snapshot.complete,
      },
      frameSet: encodeFrameSet(neededFrames()),
      sealed: snapshot.sealed,
    });
    const id = sha256Hex(record);
    await storage.put(PREFIXES.snapshot + id, [record]);
    await confirm(PREFIXES.snapshot + id);
    await tidyUp();
    return { id, timeMs: options.startedMs };
  }

  return {
    index,
    keys: {
      repositoryId: ring.repositoryId,
      publicKey: ring.publicKey,
      indexKey: ring.indexKey,
      dataKey: keys.data,
      treeKey: keys.tree,
      chunkKey: keys.chunk,
      linkKey: keys.link,
    },
    blobs,
    progress: packs.progress,
    need(ids, at = 0) {
      const frame = frameOfBlob(index.blobs, ids, at);
      if (frame >= 0) {
        needed[frame] = 1;
        return true;
      }
      return isClaimed(blobs, ids, at);
    },
    frameOf: (ids, at) => frameOfBlob(index.blobs, ids, at),
    needFrame(frame) {
      needed[frame] = 1;
    },
    store(frame) {
      const key = Buffer.from(frame.origin).latin1Slice();
      const known = newFrames.get(key);
      if (known === undefined) newFrames.set(key, { origin: frame.origin, numbers: [frame.number] });
      else known.numbers.push(frame.number);
      packs.add(frame);
    },
    ready: () => packs.ready(),
    commit,
    async abandon() {
      try {
        await packs.finish();
        await indexes.flush();
      } finally {
        await running.remove();
      }
    },
    close: () => closeSessionBlobs(blobs),
  };
}

function packWasDeleted(name: string, cause?: unknown): DamagedError {
  return new DamagedError(`pack ${name.slice(0, 16)}… was deleted while the backup ran`, {
    hint: "run the backup again: it will read afresh what was in it",
    cause,
  });
}
