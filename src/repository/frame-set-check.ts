/**
 * Whether a snapshot finds all that it needs in the frames that its own frame set names: only those are kept for it.
 *
 * An index gives one frame for a blob, although several may hold it (two backups at once store the same content, each for
 * itself). So a frame that the trees seem to need, and the frame set does not name, is only a suspicion: what of it is
 * needed may lie in a named frame as well, which the packs' own directories tell.
 */
import { contentIds, decodeContentList, iterateTree } from "../format/tree.ts";
import type { FrameReader } from "./frame-reader.ts";
import type { FrameTable } from "./frame-table.ts";
import { readPackBlobs } from "./index-loader.ts";
import { findLiveFrames } from "./live-frames.ts";
import type { Repository } from "./repository.ts";
import type { Snapshot } from "./snapshots.ts";

/** How many blobs that the snapshot's trees name lie in no frame that it names. `needed`: frames that the index gives. */
export async function countBlobsOutsideFrameSet(
  repository: Repository,
  reader: FrameReader,
  snapshot: Snapshot,
  needed: ReadonlySet<number>,
): Promise<number> {
  const { frames } = reader.index;
  const { live } = findLiveFrames(frames, [snapshot]);
  const isIn = (named: Uint8Array, frame: number): boolean =>
    [frame, ...frames.copiesOf(frame)].some((copy) => named[copy] === 1);
  if ([...needed].every((frame) => isIn(live, frame))) return 0;
  const named = withStandIns(frames, snapshot, live);
  const suspects = new Set([...needed].filter((frame) => !isIn(named, frame)));
  if (suspects.size === 0) return 0;
  const blobs = await blobsIn(reader, snapshot, suspects);
  const packs = new Set<number>();
  named.forEach((isNamed, frame) => {
    if (isNamed === 1) packs.add(frames.packIndexOf(frame));
  });
  for (const index of packs) {
    if (blobs.size === 0) break;
    const { name, sizeBytes } = frames.packs[index];
    for (const frame of (await readPackBlobs(repository, name.toString("hex"), sizeBytes)).frames) {
      const known = frames.find(Buffer.from(frame.origin), frame.number);
      if (known < 0 || !isIn(named, known)) continue;
      for (let at = 0; at < frame.ids.length; at += 32) blobs.delete(keyOf(frame.ids.subarray(at, at + 32)));
    }
  }
  return blobs.size;
}

/** Adds the frames into which those that the snapshot names were laid: an index may point to either. */
function withStandIns(frames: FrameTable, snapshot: Snapshot, live: Uint8Array): Uint8Array {
  const laidAnew = new Map<number, undefined>();
  for (let frame = 0; frame < frames.count(); frame++) {
    if (frames.forwardsOf(frames.originIndexOf(frame), frames.numberOf(frame)) !== undefined)
      laidAnew.set(frame, undefined);
  }
  const standIns = findLiveFrames(frames, [snapshot], laidAnew).live;
  return live.map((isLive, frame) => isLive | standIns[frame]);
}

/** Blobs of the snapshot that the index puts into these frames. */
async function blobsIn(reader: FrameReader, { sealed }: Snapshot, suspects: ReadonlySet<number>): Promise<Set<string>> {
  const found = new Set<string>();
  const seenTrees = new Set<string>();
  const note = (id: Uint8Array): void => {
    if (suspects.has(reader.locate(id).frame)) found.add(keyOf(id));
  };
  const waiting: Uint8Array[] = [sealed.root.tree];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (seenTrees.has(keyOf(id))) continue;
    seenTrees.add(keyOf(id));
    note(id);
    const tree = iterateTree(await reader.readTree(id));
    if (tree.kind === "fan") {
      waiting.push(...tree.parts.map((part) => part.id));
      continue;
    }
    const lists: Uint8Array[] = [];
    for (const encoded of tree.encodedEntries) {
      contentIds(encoded, (offset, _length, kind) => {
        const blob = Uint8Array.from(encoded.subarray(offset, offset + 32));
        if (kind === "tree") waiting.push(blob);
        else note(blob);
        if (kind === "list") lists.push(blob);
      });
    }
    for (const list of lists) for (const blob of decodeContentList(await reader.readTree(list))) note(blob.id);
  }
  return found;
}

function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, 32).latin1Slice();
}
