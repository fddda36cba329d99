/** Packs: immutable files of frames with a directory at the end (docs/format.md, "Pack"). */
import { SealBrokenError, open, prepareKey, seal } from "../crypto/aead.ts";
import { checksum16, createKeyedHash } from "../crypto/keyed-hash.ts";
import type { Storage } from "../storage/storage.ts";
import type { ByteReader, ByteWriter } from "./codec.ts";
import {
  asBuffer,
  createWriter,
  damaged,
  damagedAt,
  expectEnd,
  readBytes,
  readCount,
  readRaw,
  readU8,
  readVarint,
  readerOf,
  writeBytes,
  writeRaw,
  writeU32,
  writeU8,
  writeVarint,
  writtenCopy,
  writtenView,
} from "./codec.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  MAXIMUM_BLOBS_PER_FRAME,
  MAXIMUM_BLOB_BYTES,
  MAXIMUM_FRAME_NUMBER,
  MAXIMUM_SEALED_BYTES,
  frameKindNumber,
  frameKindOf,
  frameName,
} from "./frame.ts";
import type { FrameKind } from "./frame.ts";

export const PACK_HEADER_BYTES = 24;
export const PACK_TRAILER_BYTES = 32;
export const MAXIMUM_PACK_BYTES = 256 * 1024 * 1024;
/** How much of a pack's end is read at first: holds the directory of nearly every pack. */
const FIRST_READ_BYTES = 64 * 1024;

/** Where a frame lies in a pack, as its directory says. What was decoded holds views of the bytes it came from. */
export interface FrameLocation<Bytes extends Uint8Array = Buffer> {
  readonly kind: FrameKind;
  /** 32 bytes. With `number` the frame's name, for life. */
  readonly origin: Bytes;
  readonly number: number;
  /** Of the frame record, from the start of the pack. */
  readonly offset: number;
  /** Of the frame record, header included. */
  readonly length: number;
  /** First 16 bytes of BLAKE3 of the frame record. */
  readonly checksum: Bytes;
  /** See `openBlobList`. */
  readonly sealedBlobs: Bytes;
  /** Undefined for most. */
  readonly forwards?: readonly FrameForward<Bytes>[] | undefined;
}

/** A frame's name: see docs/format.md. */
export interface FrameName<Bytes extends Uint8Array = Buffer> {
  /** 32 bytes. */
  readonly origin: Bytes;
  readonly number: number;
}

/**
 * A frame that is no more: what was still needed of its blobs was laid into other frames, the last of which carries this
 * note. Frame sets that name the old frame mean those others.
 */
export interface FrameForward<Bytes extends Uint8Array = Buffer> extends FrameName<Bytes> {
  /** The frames before the one that carries the note; none where all went into that one. */
  readonly others: readonly FrameName<Bytes>[];
}

/** Whole bytes of a directory's entry that say where a frame lies, without the blob list. */
export const MINIMUM_LOCATION_BYTES = 1 + 1 + 1 + 1 + 1 + 16;

/** The object that holds a pack. */
export function packObjectName(hashHex: string): string {
  return `packs/${hashHex.slice(0, 2)}/${hashHex}`;
}

/** The pack's hash in hex, or undefined where the name is not that of a pack. */
export function parsePackObjectName(objectName: string): string | undefined {
  const match = /^packs\/([0-9a-f]{2})\/(\1[0-9a-f]{62})$/.exec(objectName);
  return match?.[2];
}

const PACK_MAGIC = Buffer.from("HFPK\x01\0\0\0", "latin1");
const TRAILER_MAGIC = Buffer.from("HFPKEND\x01", "latin1");

export function encodePackHeader(repositoryId: Uint8Array): Buffer {
  return Buffer.concat([PACK_MAGIC, repositoryId]);
}

/** Throws `DamagedError` where the pack is not one of this repository. */
export function checkPackHeader(bytes: Uint8Array, repositoryId: Uint8Array, what = "pack"): void {
  const header = asBuffer(bytes);
  if (header.length < PACK_HEADER_BYTES || !header.subarray(0, 8).equals(PACK_MAGIC)) {
    throw damaged(what, "it does not start as a pack does");
  }
  if (!header.subarray(8, PACK_HEADER_BYTES).equals(repositoryId)) throw damaged(what, "it is of another repository");
}

/** Directory and trailer of a pack whose frames are these, in order of offset. */
export function encodePackEnd(frames: readonly FrameLocation<Uint8Array>[]): Buffer {
  const output = createWriter(1024 + frames.reduce((sum, frame) => sum + 40 + frame.sealedBlobs.length, 0));
  const origins = collectOrigins(frames);
  writeOrigins(output, origins);
  writeVarint(output, frames.length);
  for (const frame of frames) {
    writeFrameLocation(output, frame, origins.get(asBuffer(frame.origin).toString("latin1"))!);
    writeBytes(output, frame.sealedBlobs);
  }
  const directory = writtenView(output);
  const directoryLength = directory.length;
  const checksum = checksum16(directory);
  writeU32(output, directoryLength);
  writeRaw(output, checksum);
  writeU32(output, 0);
  writeRaw(output, TRAILER_MAGIC);
  return writtenCopy(output);
}

/** Distinct origins (as one character a byte) in order of first use, with their place. */
export function collectOrigins(frames: Iterable<{ readonly origin: Uint8Array }>, origins = new Map<string, number>()) {
  let last: Uint8Array | undefined;
  for (const { origin } of frames) {
    if (origin === last) continue;
    last = origin;
    const key = asBuffer(origin).toString("latin1");
    if (!origins.has(key)) origins.set(key, origins.size);
  }
  return origins;
}

export function writeOrigins(output: ByteWriter, origins: ReadonlyMap<string, number>): void {
  writeVarint(output, origins.size);
  for (const origin of origins.keys()) writeRaw(output, Buffer.from(origin, "latin1"));
}

/** Writes where a frame lies, as directories and indexes do. */
export function writeFrameLocation(
  output: ByteWriter,
  frame: Omit<FrameLocation<Uint8Array>, "sealedBlobs">,
  originIndex: number,
): void {
  const { forwards = [] } = frame;
  writeU8(output, frameKindNumber(frame.kind) | (forwards.length > 0 ? HAS_FORWARDS : 0));
  writeVarint(output, originIndex);
  writeVarint(output, frame.number);
  writeVarint(output, frame.offset);
  writeVarint(output, frame.length);
  writeRaw(output, frame.checksum);
  if (forwards.length > 0) writeForwards(output, forwards);
}

function writeForwards(output: ByteWriter, forwards: readonly FrameForward<Uint8Array>[]): void {
  writeVarint(output, forwards.length);
  for (const { others, ...name } of forwards) {
    writeVarint(output, others.length);
    for (const { origin, number } of [name, ...others]) {
      writeRaw(output, origin);
      writeVarint(output, number);
    }
  }
}

/** Reads what follows a frame's checksum in directories and indexes, if its kind has the bit `HAS_FORWARDS`. */
export function readForwards(input: ByteReader): FrameForward[] {
  const count = readCount(input, 34, undefined, "number of forwards");
  return Array.from({ length: count }, () => {
    const otherCount = readCount(input, 33, undefined, "number of frames");
    const [name, ...others] = Array.from({ length: otherCount + 1 }, () => ({
      origin: readRaw(input, 32, "origin"),
      number: readVarint(input, MAXIMUM_FRAME_NUMBER, "frame number"),
    }));
    return { ...name, others };
  });
}

export interface PackTrailer {
  /** Where the directory starts in the pack, and its length. */
  readonly directoryOffset: number;
  readonly directoryLength: number;
  /** First 16 bytes of BLAKE3 of the directory. */
  readonly checksum: Buffer;
}

/** Reads the last 32 bytes of a pack of `packSize` bytes. */
export function decodeTrailer(bytes: Uint8Array, packSize: number, what = "pack"): PackTrailer {
  const trailer = asBuffer(bytes);
  if (trailer.length !== PACK_TRAILER_BYTES || packSize < PACK_HEADER_BYTES + PACK_TRAILER_BYTES) {
    throw damaged(what, `with ${packSize} bytes it is too short`);
  }
  if (packSize > MAXIMUM_PACK_BYTES) throw damaged(what, `with ${packSize} bytes it is too long`);
  if (!trailer.subarray(24).equals(TRAILER_MAGIC) || trailer.readUInt32LE(20) !== 0) {
    throw damaged(what, "it does not end as a pack does (cut off?)");
  }
  const directoryLength = trailer.readUInt32LE(0);
  const directoryOffset = packSize - PACK_TRAILER_BYTES - directoryLength;
  if (directoryOffset < PACK_HEADER_BYTES) throw damaged(what, "its directory would be longer than the pack");
  return { directoryOffset, directoryLength, checksum: trailer.subarray(4, 20) };
}

/**
 * The frames of a pack, from the bytes of its directory, which `decodeTrailer` found and whose checksum is checked by
 * `readDirectory`. `packName` is for messages. Buffers of the result are views of `bytes`.
 */
export function decodeDirectory(bytes: Uint8Array, packSize: number, packName: string): FrameLocation[] {
  const input = readerOf(bytes, `directory of pack ${packName}`);
  const originCount = readCount(input, 32, undefined, "number of origins");
  const origins: Buffer[] = [];
  for (let index = 0; index < originCount; index++) origins.push(readRaw(input, 32, "origin"));
  const frameCount = readCount(input, MINIMUM_LOCATION_BYTES + 1, undefined, "number of frames");
  const framesEnd = packSize - PACK_TRAILER_BYTES - bytes.length;
  const frames: FrameLocation[] = [];
  let expectedOffset = PACK_HEADER_BYTES;
  for (let index = 0; index < frameCount; index++) {
    const { kind, hasForwards } = readFrameKind(input);
    const origin = origins[readVarint(input, originCount - 1, "place of the origin")];
    const number = readVarint(input, MAXIMUM_FRAME_NUMBER, "frame number");
    const offset = readVarint(input, MAXIMUM_PACK_BYTES, "offset");
    const length = readVarint(input, FRAME_HEADER_BYTES + MAXIMUM_SEALED_BYTES, "length");
    if (offset !== expectedOffset) throw damagedAt(input, `a frame starts at ${offset} instead of ${expectedOffset}`);
    if (length < FRAME_OVERHEAD_BYTES) throw damagedAt(input, `a frame of ${length} bytes is too short`);
    expectedOffset = offset + length;
    const checksum = readRaw(input, 16, "checksum");
    const forwards = hasForwards ? readForwards(input) : undefined;
    const sealedBlobs = readBytes(input, undefined, "blob list");
    frames.push({ kind, origin, number, offset, length, checksum, sealedBlobs, ...(forwards && { forwards }) });
  }
  expectEnd(input);
  if (expectedOffset !== framesEnd) {
    throw damaged(input.what, `its frames end at ${expectedOffset}, and it starts at ${framesEnd}`);
  }
  return frames;
}

/** Bit beside the kind of a frame that is followed by forwards. */
const HAS_FORWARDS = 128;

/** Reads the first byte of a frame's location. */
export function readFrameKind(input: ByteReader): { readonly kind: FrameKind; readonly hasForwards: boolean } {
  const byte = readU8(input, "kind");
  const kind = frameKindOf(byte & ~HAS_FORWARDS);
  if (kind === undefined) throw damagedAt(input, `frame kind ${byte} is unknown`);
  return { kind, hasForwards: (byte & HAS_FORWARDS) !== 0 };
}

/**
 * The frames of a stored pack, by one read of its end, or two where the directory is large. `packName` is its hash in
 * hex, `size` its length in bytes. Checks the directory's checksum, and reads nothing else of the pack.
 */
export async function readDirectory(storage: Storage, packName: string, size: number): Promise<FrameLocation[]> {
  const what = `pack ${packName}`;
  if (size < PACK_HEADER_BYTES + PACK_TRAILER_BYTES) throw damaged(what, `with ${size} bytes it is too short`);
  const objectName = packObjectName(packName);
  const tailOffset = Math.max(0, size - FIRST_READ_BYTES);
  const tail = asBuffer(await storage.get(objectName, { offset: tailOffset, length: size - tailOffset }));
  const trailer = decodeTrailer(tail.subarray(tail.length - PACK_TRAILER_BYTES), size, what);
  const { directoryOffset, directoryLength } = trailer;
  let directory = tail.subarray(Math.max(0, directoryOffset - tailOffset), tail.length - PACK_TRAILER_BYTES);
  if (directoryOffset < tailOffset) {
    const range = { offset: directoryOffset, length: tailOffset - directoryOffset };
    directory = Buffer.concat([await storage.get(objectName, range), directory], directoryLength);
  }
  if (!checksum16(directory).equals(trailer.checksum)) throw damaged(what, "its directory's checksum is wrong");
  return decodeDirectory(directory, size, packName);
}

/** The blobs of one frame, in the order in which they lie in it. */
export interface BlobList {
  /** 32 bytes a blob, one after another. */
  readonly ids: Buffer;
  readonly lengths: Uint32Array;
}

/** Seals the ids (an array, or 32 bytes each one after another) and lengths of a frame's blobs for its directory. */
export function sealBlobList(
  indexKey: Uint8Array,
  repositoryId: Uint8Array,
  origin: Uint8Array,
  number: number,
  ids: readonly Uint8Array[] | Uint8Array,
  lengths: ArrayLike<number>,
): Buffer {
  return createBlobListSealer(indexKey, repositoryId, origin)(number, ids, lengths);
}

/** As `sealBlobList`, for many frames of one origin. */
export function createBlobListSealer(
  indexKey: Uint8Array,
  repositoryId: Uint8Array,
  origin: Uint8Array,
): (number: number, ids: readonly Uint8Array[] | Uint8Array, lengths: ArrayLike<number>) => Buffer {
  const key = prepareKey(createKeyedHash(indexKey).hash(origin));
  return (number, ids, lengths) => {
    const flat = ids instanceof Uint8Array ? ids : Buffer.concat(ids);
    const count = lengths.length;
    if (flat.length !== count * 32) throw new RangeError(`${flat.length} bytes of ids for ${count} blobs`);
    const list = createWriter(8 + count * (32 + 4));
    writeVarint(list, count);
    for (let place = 0; place < count; place++) writeVarint(list, lengths[place]);
    writeRaw(list, flat);
    return seal(key, number, blobListAad(repositoryId, origin, number), [writtenView(list)]);
  };
}

/** Undoes `sealBlobList`. Throws `DamagedError`. */
export function openBlobList(
  indexKey: Uint8Array,
  repositoryId: Uint8Array,
  origin: Uint8Array,
  number: number,
  sealed: Uint8Array,
): BlobList {
  const what = `blob list of ${frameName(origin, number)}`;
  let list: Buffer;
  try {
    list = open(createKeyedHash(indexKey).hash(origin), number, blobListAad(repositoryId, origin, number), sealed);
  } catch (cause) {
    if (!(cause instanceof SealBrokenError)) throw cause;
    throw damaged(what, cause.message, cause);
  }
  const input = readerOf(list, what);
  const count = readCount(input, 33, MAXIMUM_BLOBS_PER_FRAME, "number of blobs");
  const lengths = new Uint32Array(count);
  for (let place = 0; place < count; place++)
    lengths[place] = readVarint(input, MAXIMUM_BLOB_BYTES, "length of a blob");
  const ids = readRaw(input, count * 32, "ids");
  expectEnd(input);
  return { ids, lengths };
}

function blobListAad(repositoryId: Uint8Array, origin: Uint8Array, number: number): Buffer {
  const aad = Buffer.allocUnsafe(16 + 32 + 4);
  aad.set(repositoryId, 0);
  aad.set(origin, 16);
  aad.writeUInt32LE(number, 48);
  return aad;
}
