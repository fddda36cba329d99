import { HoldfastError } from "../errors.ts";
import type { FrameForward, FrameName } from "../format/pack.ts";
import { contentIds, decodeContentList, iterateTree } from "../format/tree.ts";
import { findSlot, forEachBlob } from "./blob-table.ts";
import { choosePacksToRepack, type PackUse } from "./choose-packs.ts";
import { type FrameReader, openFrameReader } from "./frame-reader.ts";
import { createFrameWriter, type FrameWriter, type SealedFrame } from "./frame-writer.ts";
import { type LoadedIndex, readPackBlobs } from "./index-loader.ts";
import { createIndexWriter } from "./index-writer.ts";
import { createPackWriter, type PackedFrame } from "./pack-writer.ts";
import type { Repository } from "./repository.ts";
import { openSnapshot, type SnapshotRecord } from "./snapshots.ts";

/**
 * Frees what is unused inside of frames.
 *
 * A frame holds many small files, and stays as long as one of them is needed. Where most of a frame is not needed any
 * more, its needed blobs are laid into new frames, with a note that the old one stands for those. Nothing is deleted here:
 * the old frame is then superseded for the snapshots that were looked at, and pruning condemns it in its usual way. If a
 * snapshot comes up meanwhile that names the old frame, that stays, and the new ones are garbage for the next prune.
 *
 * A blob is needed if any snapshot's trees name it, whether or not another frame holds it as well: each snapshot must find
 * all it needs in the frames of its own frame set, since others may lose theirs.
 */
export interface SupersededFrame {
  readonly name: FrameName<Uint8Array>;
  /** The frames that hold what was needed of it. */
  readonly standIns: readonly FrameName<Uint8Array>[];
}

/** Without being asked, only so much of trees is read, as it is stored: some 20,000 folders, and a second or two. */
const TREE_BYTES_AT_MOST = 64 * 1024 * 1024;

export interface LayAnewOptions {
  /** Indexes of everything, condemned packs left out. */
  readonly index: LoadedIndex;
  readonly snapshots: readonly SnapshotRecord[];
  /** Frames that the snapshots need. */
  readonly live: Uint8Array;
  /** How much of each pack is in them. */
  readonly uses: readonly PackUse[];
  /** However much of trees must be read for it. */
  readonly thorough: boolean;
  /** Which part of a frame, and of all, may stay unused. */
  readonly maxUnusedRatio: number;
  /** What is needed of packs with such frames, and so has to be written anew, is no more than this. */
  readonly maxRepackBytes: number;
  readonly onStep: (step: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Throws as storage does. Gives the frames that were laid anew, whose packs then have to go. */
export async function layAnew(repository: Repository, options: LayAnewOptions): Promise<readonly SupersededFrame[]> {
  const { index } = options;
  if (repository.ring.privateKey === undefined) return [];
  const treeBytes = neededTreeBytes(options);
  if (treeBytes > TREE_BYTES_AT_MOST && !options.thorough) {
    const mebibytes = Math.round(treeBytes / 1024 / 1024);
    options.onStep(
      `not looking for what is unused inside of frames (--thorough reads ${mebibytes} MiB of folders for it)`,
    );
    return [];
  }
  options.onStep("looking for what is unused inside of frames");
  const reader = await openFrameReader(repository, index);
  const needed = await neededBlobs(repository, reader, options);
  if (needed === undefined) return [];
  const sparse = chooseFrames(options, await findSparseFrames(repository, options, needed));
  if (sparse.length === 0) return [];
  options.onStep(`laying ${sparse.length} frames anew`);
  return writeAnew(repository, reader, sparse, options.signal);
}

function neededTreeBytes({ index: { frames }, live }: LayAnewOptions): number {
  let sum = 0;
  live.forEach((isLive, frame) => {
    if (isLive === 1 && frames.kindOf(frame) === "tree") sum += frames.locate(frame).length;
  });
  return sum;
}

/** Those that lie in packs which are worth being written anew: a frame's place is freed only with its pack. */
function chooseFrames({ index, uses, ...limits }: LayAnewOptions, sparse: readonly SparseFrame[]): SparseFrame[] {
  const innerWaste = new Map<number, number>();
  for (const { frame, wastedBytes } of sparse) {
    const pack = index.frames.packIndexOf(frame);
    innerWaste.set(pack, (innerWaste.get(pack) ?? 0) + wastedBytes);
  }
  let usedBytes = 0;
  const needed = uses
    .filter(({ liveBytes }) => liveBytes > 0)
    .map((pack) => {
      const inner = innerWaste.get(pack.index) ?? 0;
      const wastedBytes = pack.wastedBytes + inner;
      usedBytes += pack.sizeBytes - wastedBytes;
      return { ...pack, liveBytes: pack.liveBytes - inner, wastedBytes };
    });
  const chosen = choosePacksToRepack(needed, {
    allowedUnusedBytes: usedBytes * limits.maxUnusedRatio,
    maximumBytes: limits.maxRepackBytes,
  });
  const packs = new Set(chosen.map((pack) => pack.index));
  return sparse.filter(({ frame }) => packs.has(index.frames.packIndexOf(frame)));
}

/** Which blobs (by slot of the table) the trees of the snapshots name. Undefined where something cannot be read. */
async function neededBlobs(
  repository: Repository,
  reader: FrameReader,
  { index, snapshots, signal }: LayAnewOptions,
): Promise<Uint8Array | undefined> {
  const needed = new Uint8Array(index.blobs.slots);

  /** True where it was not known to be needed before. */
  function mark(id: Uint8Array): boolean {
    const slot = findSlot(index.blobs, id);
    if (slot < 0) throw new UnreadableError("a blob is in no index");
    if (needed[slot] === 1) return false;
    needed[slot] = 1;
    return true;
  }

  async function visit(id: Uint8Array): Promise<void> {
    signal?.throwIfAborted();
    if (!mark(id)) return;
    const tree = iterateTree(await reader.readTree(id));
    if (tree.kind === "fan") {
      for (const part of tree.parts) await visit(part.id);
      return;
    }
    const below: Uint8Array[] = [];
    const lists: Uint8Array[] = [];
    for (const encoded of tree.encodedEntries) {
      contentIds(encoded, (idOffset, _length, kind) => {
        const blob = encoded.subarray(idOffset, idOffset + 32);
        if (kind === "tree") below.push(Uint8Array.from(blob));
        else if (kind === "list") lists.push(Uint8Array.from(blob));
        else mark(blob);
      });
    }
    for (const list of lists) {
      if (mark(list)) for (const blob of decodeContentList(await reader.readTree(list))) mark(blob.id);
    }
    for (const subtree of below) await visit(subtree);
  }

  try {
    for (const snapshot of snapshots) {
      await visit(openSnapshot(repository, snapshot).sealed.root.tree);
    }
    return needed;
  } catch (error) {
    // In a damaged repository nothing is moved: `check` and `repair` come first.
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}

class UnreadableError extends HoldfastError {}

interface SparseFrame {
  /** Number in the index. */
  readonly frame: number;
  /** Places of the blobs that are needed. */
  readonly places: readonly number[];
  /** Of the frame as it is stored, about. */
  readonly wastedBytes: number;
  readonly packed: PackedFrame;
}

async function findSparseFrames(
  repository: Repository,
  { index, live, maxUnusedRatio, signal }: LayAnewOptions,
  needed: Uint8Array,
): Promise<SparseFrame[]> {
  const { frames } = index;
  // A first look at what the table says, so that only directories of packs with something in them are read.
  const unneededBlobs = new Uint32Array(frames.count());
  forEachBlob(index.blobs, (slot, frame) => {
    if (needed[slot] === 0) unneededBlobs[frame]++;
  });
  const sparse: SparseFrame[] = [];
  for (const pack of frames.packs) {
    let isInteresting = false;
    for (let frame = pack.firstFrame; frame < pack.firstFrame + pack.frames; frame++) {
      isInteresting ||= live[frame] === 1 && unneededBlobs[frame] > 0;
    }
    if (!isInteresting) continue;
    signal?.throwIfAborted();
    const { frames: stored } = await readPackBlobs(repository, pack.name.toString("hex"), pack.sizeBytes);
    stored.forEach((packed, offset) => {
      const frame = pack.firstFrame + offset;
      if (live[frame] !== 1) return;
      const places: number[] = [];
      let totalBytes = 0;
      let neededBytes = 0;
      packed.lengths.forEach((lengthBytes, place) => {
        totalBytes += lengthBytes;
        const slot = findSlot(index.blobs, packed.ids, place * 32);
        // What no index knows cannot be judged: it stays.
        if (slot >= 0 && needed[slot] === 0) return;
        places.push(place);
        neededBytes += lengthBytes;
      });
      const wastedRatio = totalBytes === 0 ? 0 : 1 - neededBytes / totalBytes;
      if (wastedRatio <= maxUnusedRatio) return;
      sparse.push({ frame, places, wastedBytes: Math.round(packed.length * wastedRatio), packed });
    });
  }
  return sparse;
}

/** Lays the needed blobs of frames into new ones, all durable and listed when it resolves. */
async function writeAnew(
  repository: Repository,
  reader: FrameReader,
  sparse: readonly SparseFrame[],
  signal: AbortSignal | undefined,
): Promise<readonly SupersededFrame[]> {
  const { storage, ring } = repository;
  const indexes = createIndexWriter(repository);
  const packs = createPackWriter(storage, ring.repositoryId, (pack) => indexes.add(pack));
  const superseded: SupersededFrame[] = [];
  for (const kind of ["data", "tree"] as const) {
    const relay = createRelay(
      (emit) => createFrameWriter(kind, ring, "auto", emit),
      (frame, moved) => {
        superseded.push(...moved);
        packs.add(frame);
      },
    );
    for (const { frame, places, packed } of sparse) {
      if (packed.kind !== kind) continue;
      signal?.throwIfAborted();
      const { raw, blobs } = await reader.openFrame(frame);
      const pieces = places.map((place) => ({
        id: packed.ids.subarray(place * 32, place * 32 + 32),
        bytes: raw.subarray(blobs.offsets[place], blobs.offsets[place] + blobs.lengths[place]),
      }));
      relay.move(packed, pieces);
      await packs.ready();
    }
    relay.finish();
  }
  await packs.finish();
  await indexes.flush();
  return superseded;
}

interface MovedFrame {
  /** Its own name, and those of the frames that it stood for itself. */
  readonly names: readonly FrameForward<Uint8Array>[];
  /** New frames that hold a part of it. */
  readonly targets: FrameName<Uint8Array>[];
  complete: boolean;
}

/** Moves blobs from old frames into new ones, and notes on the last new frame of each which old ones it stands for. */
function createRelay(
  open: (emit: (frame: SealedFrame) => void) => FrameWriter,
  /** Told of each new frame, and of the old ones for which there is a note with it. */
  store: (frame: SealedFrame, moved: readonly SupersededFrame[]) => void,
): {
  move(frame: PackedFrame, pieces: readonly { id: Uint8Array; bytes: Uint8Array }[]): void;
  finish(): void;
} {
  /** Old frames with blobs in the frame that is being filled, or waiting for a frame to carry their note. */
  let current = new Set<MovedFrame>();
  const writer = open((frame) => {
    const name = { origin: frame.origin, number: frame.number };
    const complete = [...current].filter((moved) => moved.complete);
    // The others go on in the next frame, which then must carry the note, even if nothing more of them comes.
    const unfinished = [...current].filter((moved) => !moved.complete);
    for (const { targets } of unfinished) targets.push(name);
    const forwards = complete.flatMap(({ names, targets }) =>
      names.map((old) => ({ ...old, others: [...old.others, ...targets] })),
    );
    current = new Set(unfinished);
    store(
      { ...frame, forwards },
      complete.map(({ names: [own], targets }) => ({ name: own, standIns: [...targets, name] })),
    );
  });

  return {
    move({ origin, number, forwards = [] }, pieces) {
      const moved: MovedFrame = { names: [{ origin, number, others: [] }, ...forwards], targets: [], complete: false };
      pieces.forEach(({ id, bytes }, index) => {
        writer.room(bytes.length).set(bytes);
        current.add(moved);
        // Before the frame may be sealed with its last blob in it.
        moved.complete = index === pieces.length - 1;
        writer.add(id, bytes.length);
      });
      if (pieces.length === 0) {
        moved.complete = true;
        current.add(moved);
      }
    },
    finish: () => writer.flush(),
  };
}
