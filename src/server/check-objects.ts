/**
 * Whether what a host offers is what it claims to be. Nothing here knows what is in storage or whose it is; everything
 * comes from a host that may be hostile. What is wrong is a `RefusedError` or `DamagedError`.
 */
import { isDeepStrictEqual } from "node:util";
import { checksum16 } from "../crypto/keyed-hash.ts";
import { RefusedError } from "../errors.ts";
import { asBuffer } from "../format/codec.ts";
import { decodeFrameHeader, FRAME_HEADER_BYTES, frameName } from "../format/frame.ts";
import { encodeFrameSet } from "../format/frame-set.ts";
import { type DecodedIndex, openBlobSection, packOf } from "../format/index-object.ts";
import {
  checkPackHeader,
  decodeDirectory,
  decodeTrailer,
  type FrameLocation,
  openBlobList,
  PACK_TRAILER_BYTES,
} from "../format/pack.ts";
import { decodeSnapshotOpen, type DecodedSnapshot } from "../format/snapshot.ts";

/** Frame numbers stay below this on a server: a host that counts further does not do so for its files' sake. */
export const FRAME_NUMBER_LIMIT = 2 ** 24;

/** Throws unless `id` is the SHA-256 of the content. */
export async function checkName(what: string, id: string, bytes: Buffer): Promise<void> {
  // Off the main thread, as a pack takes milliseconds.
  const hash = Buffer.from(await crypto.subtle.digest("SHA-256", bytes as Buffer<ArrayBuffer>)).toString("hex");
  if (hash !== id) throw new RefusedError(`${what}: the content is not that of its name`);
}

/** The frames of a pack, all of which are where its directory says, and unaltered. */
export function checkPack(id: string, bytes: Buffer, repositoryId: Uint8Array, indexKey: Uint8Array): FrameLocation[] {
  const what = `pack ${id.slice(0, 16)}…`;
  checkPackHeader(bytes, repositoryId, what);
  const trailer = decodeTrailer(bytes.subarray(bytes.length - PACK_TRAILER_BYTES), bytes.length, what);
  const directory = bytes.subarray(trailer.directoryOffset, trailer.directoryOffset + trailer.directoryLength);
  if (!checksum16(directory).equals(trailer.checksum)) throw refusedPack(what, "its directory's checksum is wrong");
  const frames = decodeDirectory(directory, bytes.length, id);
  if (frames.length === 0) throw refusedPack(what, "there is nothing in it");
  const names = new Set<string>();
  for (const frame of frames) {
    const name = frameName(frame.origin, frame.number);
    const record = bytes.subarray(frame.offset, frame.offset + frame.length);
    const header = decodeFrameHeader(record, name);
    const agrees =
      header.kind === frame.kind &&
      header.number === frame.number &&
      header.origin.equals(frame.origin) &&
      header.sealedLength === frame.length - FRAME_HEADER_BYTES;
    if (!agrees) throw refusedPack(what, `its directory says something else of ${name} than the frame`);
    if (frame.number >= FRAME_NUMBER_LIMIT) throw refusedPack(what, `${name} has too high a number`);
    if (!checksum16(record).equals(frame.checksum)) throw refusedPack(what, `the checksum of ${name} is wrong`);
    names.add(`${frame.origin.latin1Slice()}${frame.number}`);
    openBlobList(indexKey, repositoryId, frame.origin, frame.number, frame.sealedBlobs);
  }
  if (names.size < frames.length) throw refusedPack(what, "it holds a frame twice");
  return frames;
}

/** As `checkPack`, of a pack that has passed it. */
export function framesOfPack(id: string, bytes: Buffer): FrameLocation[] {
  const trailer = decodeTrailer(bytes.subarray(bytes.length - PACK_TRAILER_BYTES), bytes.length, id);
  const directory = bytes.subarray(trailer.directoryOffset, trailer.directoryOffset + trailer.directoryLength);
  return decodeDirectory(directory, bytes.length, id);
}

function refusedPack(what: string, problem: string): RefusedError {
  return new RefusedError(`${what} is refused: ${problem}`);
}

/** Origins that a pack speaks of besides those of its frames: of frames that were laid anew. */
export function forwardedOrigins(frames: readonly FrameLocation[]): Buffer[] {
  return frames.flatMap(({ forwards = [] }) =>
    forwards.flatMap(({ origin, others }) => [origin, ...others.map((other) => other.origin)]),
  );
}

/** The frames of a pack for the catalogue. */
export function frameSetOf(frames: readonly Pick<FrameLocation, "origin" | "number">[]): Buffer {
  const byOrigin = new Map<string, { origin: Buffer; numbers: number[] }>();
  for (const { origin, number } of frames) {
    const key = origin.latin1Slice();
    const known = byOrigin.get(key);
    if (known === undefined) byOrigin.set(key, { origin, numbers: [number] });
    else known.numbers.push(number);
  }
  return encodeFrameSet(
    [...byOrigin.values()].map(({ origin, numbers }) => ({ origin, numbers: Uint32Array.from(numbers).sort() })),
  );
}

export interface DirectoryOfPack {
  readonly sizeBytes: number;
  readonly frames: readonly FrameLocation[];
}

/**
 * Throws unless the index says of each of its packs what that pack's directory says, and of each of their blobs where it
 * lies: no more, no less. `directories` are those of all packs that it lists, by id in hex.
 */
export function checkIndex(
  index: DecodedIndex,
  directories: ReadonlyMap<string, DirectoryOfPack>,
  repositoryId: Uint8Array,
  indexKey: Uint8Array,
): void {
  if (!index.repositoryId.equals(repositoryId)) throw refusedIndex("it is of another repository");
  const blobsOfFrame = new Map<string, { ids: Buffer; lengths: Uint32Array }>();
  let blobCount = 0;
  for (let number = 0; number < index.packCount; number++) {
    const pack = packOf(index, number);
    const directory = directories.get(pack.name.toString("hex"));
    if (directory === undefined || directory.sizeBytes !== pack.sizeBytes)
      throw refusedIndex("a pack has another size");
    if (directory.frames.length !== pack.frames.length) throw refusedIndex("a pack has another number of frames");
    for (const [place, frame] of pack.frames.entries()) {
      const stored = directory.frames[place];
      const agrees =
        stored.kind === frame.kind &&
        stored.number === frame.number &&
        stored.offset === frame.offset &&
        stored.length === frame.length &&
        stored.origin.equals(frame.origin) &&
        stored.checksum.equals(frame.checksum) &&
        isDeepStrictEqual(stored.forwards, frame.forwards);
      if (!agrees) throw refusedIndex(`it is wrong about ${frameName(frame.origin, frame.number)}`);
      const key = `${frame.origin.latin1Slice()}${frame.number}`;
      const blobs = openBlobList(indexKey, repositoryId, stored.origin, stored.number, stored.sealedBlobs);
      // A frame that two of the packs hold is listed twice.
      blobCount += blobs.lengths.length;
      blobsOfFrame.set(key, blobs);
    }
  }
  let listed = 0;
  for (const section of index.sections) {
    const { originIndexes, numbers, origins } = section.frameNames;
    const blobs = openBlobSection(indexKey, repositoryId, section);
    listed += blobs.count;
    const frames = Array.from(numbers, (number, at) => {
      const start = originIndexes[at] * 32;
      return blobsOfFrame.get(`${asBuffer(origins).latin1Slice(start, start + 32)}${number}`);
    });
    for (let blob = 0; blob < blobs.count; blob++) {
      const place = blobs.places[blob];
      const frame = frames[blobs.frames[blob]];
      const isTrue =
        frame !== undefined &&
        place < frame.lengths.length &&
        frame.lengths[place] === blobs.lengths[blob] &&
        blobs.ids.compare(frame.ids, place * 32, place * 32 + 16, blob * 16, blob * 16 + 16) === 0;
      if (!isTrue) throw refusedIndex("it places a blob where there is none");
    }
  }
  if (listed !== blobCount) throw refusedIndex(`it lists ${listed} blobs of ${blobCount}`);
}

function refusedIndex(problem: string): RefusedError {
  return new RefusedError(`the index is refused: ${problem}`);
}

export interface SnapshotRules {
  readonly host: string;
  readonly repositoryId: Uint8Array;
  readonly signingKeys: readonly Uint8Array[];
  /** The time that the server gave the session. */
  readonly startedMs: number;
}

/** The record, which is of this host and of this session's time, and signed by the host. */
export function checkSnapshot(bytes: Buffer, rules: SnapshotRules): DecodedSnapshot {
  const record = decodeSnapshotOpen(bytes, "the snapshot");
  const { open } = record;
  if (!record.repositoryId.equals(rules.repositoryId)) throw refusedSnapshot("it is of another repository");
  if (!rules.signingKeys.some((key) => record.signer.equals(key))) {
    throw refusedSnapshot("it is signed by a key that is not this host's", 'enrol it again: "holdfast agent setup"');
  }
  if (!record.signatureValid()) throw refusedSnapshot("its signature does not hold");
  if (open.host !== rules.host) throw refusedSnapshot(`it says it is of ${JSON.stringify(open.host.slice(0, 100))}`);
  if (open.time !== new Date(rules.startedMs).toISOString()) {
    throw refusedSnapshot("its time is not the one that the server gave");
  }
  return record;
}

export function refusedSnapshot(problem: string, hint?: string): RefusedError {
  return new RefusedError(`the snapshot is refused: ${problem}`, hint === undefined ? {} : { hint });
}
