/**
 * Indexes: where each frame lies, and in which frame each blob (docs/format.md, "Index").
 *
 * A repository of 10 TB has ten million frames and more blobs, so nothing here makes an object for each of them: what is
 * decoded are columns (typed arrays), and blobs stay sealed in sections that can be copied as they are into another
 * index. Columns are little-endian in storage and in memory alike, as on every machine that Node runs on.
 */
import { randomBytes } from "node:crypto";
import { SEAL_OVERHEAD_BYTES, SealBrokenError, open, sealInto } from "../crypto/aead.ts";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import { freeMemory } from "../platform/free-memory.ts";
import type { ByteReader, ByteWriter } from "./codec.ts";
import {
  asBuffer,
  createWriter,
  damaged,
  damagedAt,
  expectEnd,
  readCount,
  readRaw,
  readVarint,
  readerOf,
  skip,
  writeRaw,
  writeVarint,
  writtenView,
} from "./codec.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  MAXIMUM_FRAME_NUMBER,
  MAXIMUM_SEALED_BYTES,
  frameKindNumber,
  frameKindOf,
} from "./frame.ts";
import type { FrameForward, FrameLocation } from "./pack.ts";
import {
  MAXIMUM_PACK_BYTES,
  MINIMUM_LOCATION_BYTES,
  PACK_HEADER_BYTES,
  PACK_TRAILER_BYTES,
  collectOrigins,
  readForwards,
  readFrameKind,
  writeFrameLocation,
  writeOrigins,
} from "./pack.ts";

export type IndexFrame<Bytes extends Uint8Array = Buffer> = Omit<FrameLocation<Bytes>, "sealedBlobs">;

export interface IndexPack<Bytes extends Uint8Array = Buffer> {
  /** SHA-256 of the pack's bytes. */
  readonly name: Bytes;
  readonly sizeBytes: number;
  /** In order of offset; they fill the pack. */
  readonly frames: readonly IndexFrame<Bytes>[];
}

/** Names of frames as columns: frame `i` is number `numbers[i]` of the origin at `32 * originIndexes[i]`. */
export interface FrameNames {
  /** 32 bytes each. */
  readonly origins: Uint8Array;
  readonly originIndexes: Uint32Array;
  readonly numbers: Uint32Array;
}

/** Blobs as columns, one value each in each. */
export interface BlobColumns {
  readonly count: number;
  /** First 16 bytes of each id. */
  readonly ids: Buffer;
  /** Which frame name of the section. */
  readonly frames: Uint32Array;
  /** Which blob of that frame, from 0. */
  readonly places: Uint16Array;
  readonly lengths: Uint32Array;
}

/** Blobs, sealed. May stand in any index: only the frame names are written anew. */
export interface BlobSection {
  readonly frameNames: FrameNames;
  readonly blobCount: number;
  readonly salt: Uint8Array;
  /** All sealed segments, one after another. */
  readonly sealed: Uint8Array;
}

export interface IndexToEncode {
  readonly repositoryId: Uint8Array;
  /** Gone through twice. Of a decoded index: `packsOf`. */
  readonly packs: Iterable<IndexPack<Uint8Array>>;
  readonly sections: readonly BlobSection[];
}

/** Frames of a decoded index, in columns of one value each. */
export interface FrameColumns {
  readonly count: number;
  /** As stored: 1 data, 2 tree. */
  readonly kinds: Uint8Array;
  /** Place in `origins` of the index. */
  readonly originIndexes: Uint32Array;
  readonly numbers: Uint32Array;
  /** Of the frame record in its pack, which has at most 256 MiB. */
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  /** 16 bytes each. */
  readonly checksums: Buffer;
  /** Of the few frames that have any. Views of the index's bytes. */
  readonly forwards: ReadonlyMap<number, readonly FrameForward[]>;
}

export interface DecodedIndex {
  readonly repositoryId: Buffer;
  readonly originCount: number;
  /** 32 bytes each. */
  readonly origins: Buffer;
  readonly packCount: number;
  /** 32 bytes each. */
  readonly packNames: Buffer;
  readonly packSizes: Uint32Array;
  /** Frames of pack `p` are those from `packFrames[p]` to before `packFrames[p + 1]`. */
  readonly packFrames: Uint32Array;
  readonly frames: FrameColumns;
  readonly sections: readonly BlobSection[];
}

const MAGIC = Buffer.from("HFIX\x01\0\0\0", "latin1");
const SEGMENT_BYTES = 1024 * 1024;
const BLOB_BYTES = 16 + 4 + 2 + 4;

/** The index in parts to store one after another; its name is the SHA-256 of all of them. */
export function encodeIndex(index: IndexToEncode): Uint8Array[] {
  const origins = new Map<string, number>();
  let packCount = 0;
  for (const pack of index.packs) {
    collectOrigins(pack.frames, origins);
    packCount++;
  }
  const sectionOrigins = index.sections.map((section) => placesOfOrigins(section.frameNames.origins, origins));

  const output = createWriter(64 * 1024);
  writeRaw(output, MAGIC);
  writeRaw(output, index.repositoryId);
  writeOrigins(output, origins);
  writeVarint(output, packCount);
  for (const pack of index.packs) {
    writeRaw(output, pack.name);
    writeVarint(output, pack.sizeBytes);
    writeVarint(output, pack.frames.length);
    let last: Uint8Array | undefined;
    let place = 0;
    for (const frame of pack.frames) {
      if (frame.origin !== last) place = origins.get(asBuffer(frame.origin).toString("latin1"))!;
      last = frame.origin;
      writeFrameLocation(output, frame, place);
    }
  }
  writeVarint(output, index.sections.length);
  const parts: Uint8Array[] = [];
  let piece = output;
  for (const [number, section] of index.sections.entries()) {
    writeSectionHead(piece, section, sectionOrigins[number]);
    parts.push(writtenView(piece), section.sealed);
    piece = createWriter(64 * 1024);
  }
  if (index.sections.length === 0) parts.push(writtenView(piece));
  return parts;
}

/** Where each origin of a section stands in the index; adds those that are new. */
function placesOfOrigins(sectionOrigins: Uint8Array, origins: Map<string, number>): Uint32Array {
  const flat = asBuffer(sectionOrigins);
  const places = new Uint32Array(flat.length / 32);
  for (let index = 0; index < places.length; index++) {
    const key = flat.toString("latin1", index * 32, index * 32 + 32);
    let place = origins.get(key);
    if (place === undefined) {
      place = origins.size;
      origins.set(key, place);
    }
    places[index] = place;
  }
  return places;
}

function writeSectionHead(output: ByteWriter, section: BlobSection, places: Uint32Array): void {
  const { originIndexes, numbers } = section.frameNames;
  writeVarint(output, numbers.length);
  for (let index = 0; index < numbers.length; index++) {
    writeVarint(output, places[originIndexes[index]]);
    writeVarint(output, numbers[index]);
  }
  writeVarint(output, section.blobCount);
  writeRaw(output, section.salt);
  writeVarint(output, section.sealed.length);
}

/** Throws `DamagedError`, naming the index by `what`. Sections are views of `bytes`; the rest is copied. */
export function decodeIndex(bytes: Uint8Array, what = "index"): DecodedIndex {
  const input = readerOf(bytes, what);
  if (!readRaw(input, 8, "header").equals(MAGIC)) throw damaged(what, "it does not start as an index does");
  const repositoryId = Buffer.from(readRaw(input, 16, "repository id"));
  const originCount = readCount(input, 32, undefined, "number of origins");
  const origins = Buffer.from(readRaw(input, originCount * 32, "origins"));
  const packCount = readCount(input, 34, undefined, "number of packs");
  const packNames = Buffer.allocUnsafeSlow(packCount * 32);
  const packSizes = new Uint32Array(packCount);
  const packFrames = new Uint32Array(packCount + 1);
  const columns = createFrameColumns();
  for (let pack = 0; pack < packCount; pack++) {
    packNames.set(readRaw(input, 32, "name of a pack"), pack * 32);
    packSizes[pack] = readVarint(input, MAXIMUM_PACK_BYTES, "size of a pack");
    readFrames(input, columns, originCount, packSizes[pack]);
    packFrames[pack + 1] = columns.count;
  }
  const sectionCount = readCount(input, 35, undefined, "number of blob sections");
  const sections: BlobSection[] = [];
  for (let index = 0; index < sectionCount; index++) sections.push(readSection(input, origins, originCount));
  expectEnd(input);
  const frames = finishedColumns(columns);
  return { repositoryId, originCount, origins, packCount, packNames, packSizes, packFrames, frames, sections };
}

interface GrowingColumns {
  count: number;
  kinds: Uint8Array<ArrayBuffer>;
  originIndexes: Uint32Array<ArrayBuffer>;
  numbers: Uint32Array<ArrayBuffer>;
  offsets: Uint32Array<ArrayBuffer>;
  lengths: Uint32Array<ArrayBuffer>;
  checksums: Buffer;
  readonly forwards: Map<number, readonly FrameForward[]>;
}

function createFrameColumns(): GrowingColumns {
  return {
    count: 0,
    kinds: new Uint8Array(0),
    originIndexes: new Uint32Array(0),
    numbers: new Uint32Array(0),
    offsets: new Uint32Array(0),
    lengths: new Uint32Array(0),
    checksums: Buffer.alloc(0),
    forwards: new Map(),
  };
}

function reserveFrames(columns: GrowingColumns, extra: number): void {
  if (columns.count + extra <= columns.kinds.length) return;
  const capacity = Math.max(columns.count + extra, columns.kinds.length * 2, 256);
  const kinds = new Uint8Array(capacity);
  kinds.set(columns.kinds);
  columns.kinds = kinds;
  columns.originIndexes = grown(columns.originIndexes, capacity);
  columns.numbers = grown(columns.numbers, capacity);
  columns.offsets = grown(columns.offsets, capacity);
  columns.lengths = grown(columns.lengths, capacity);
  const checksums = Buffer.allocUnsafeSlow(capacity * 16);
  checksums.set(columns.checksums);
  columns.checksums = checksums;
}

function grown(column: Uint32Array<ArrayBuffer>, capacity: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(capacity);
  larger.set(column);
  return larger;
}

function finishedColumns(columns: GrowingColumns): FrameColumns {
  const { count } = columns;
  return {
    count,
    kinds: columns.kinds.subarray(0, count),
    originIndexes: columns.originIndexes.subarray(0, count),
    numbers: columns.numbers.subarray(0, count),
    offsets: columns.offsets.subarray(0, count),
    lengths: columns.lengths.subarray(0, count),
    checksums: columns.checksums.subarray(0, count * 16),
    forwards: columns.forwards,
  };
}

function readFrames(input: ByteReader, columns: GrowingColumns, originCount: number, packSize: number): void {
  const frameCount = readCount(input, MINIMUM_LOCATION_BYTES, undefined, "number of frames");
  reserveFrames(columns, frameCount);
  const { kinds, originIndexes, numbers, offsets, lengths, checksums } = columns;
  let expectedOffset = PACK_HEADER_BYTES;
  for (let step = 0; step < frameCount; step++) {
    const frame = columns.count;
    const { kind, hasForwards } = readFrameKind(input);
    kinds[frame] = frameKindNumber(kind);
    originIndexes[frame] = readVarint(input, originCount - 1, "place of the origin");
    numbers[frame] = readVarint(input, MAXIMUM_FRAME_NUMBER, "frame number");
    const offset = readVarint(input, MAXIMUM_PACK_BYTES, "offset");
    const length = readVarint(input, FRAME_HEADER_BYTES + MAXIMUM_SEALED_BYTES, "length");
    if (offset !== expectedOffset) throw damagedAt(input, `a frame starts at ${offset} instead of ${expectedOffset}`);
    if (length < FRAME_OVERHEAD_BYTES) throw damagedAt(input, `a frame of ${length} bytes is too short`);
    expectedOffset = offset + length;
    offsets[frame] = offset;
    lengths[frame] = length;
    const checksum = skip(input, 16, "checksum");
    for (let at = 0; at < 16; at++) checksums[frame * 16 + at] = input.bytes[checksum + at];
    if (hasForwards) columns.forwards.set(frame, readForwards(input));
    columns.count++;
  }
  if (expectedOffset > packSize - PACK_TRAILER_BYTES)
    throw damagedAt(input, "a pack's frames are longer than the pack");
}

function readSection(input: ByteReader, origins: Buffer, originCount: number): BlobSection {
  const nameCount = readCount(input, 2, undefined, "number of frame names");
  const originIndexes = new Uint32Array(nameCount);
  const numbers = new Uint32Array(nameCount);
  for (let index = 0; index < nameCount; index++) {
    originIndexes[index] = readVarint(input, originCount - 1, "place of the origin");
    numbers[index] = readVarint(input, MAXIMUM_FRAME_NUMBER, "frame number");
  }
  const blobCount = readVarint(input, 0xffff_ffff, "number of blobs");
  const salt = readRaw(input, 32, "salt");
  const sealedLength = readVarint(input, undefined, "length of the sealed blobs");
  if (sealedLength !== sealedSize(blobCount)) {
    throw damagedAt(input, `${blobCount} blobs cannot be sealed in ${sealedLength} bytes`);
  }
  const sealed = readRaw(input, sealedLength, "sealed blobs");
  return { frameNames: { origins, originIndexes, numbers }, blobCount, salt, sealed };
}

function sealedSize(blobCount: number): number {
  const plainLength = blobCount * BLOB_BYTES;
  return plainLength + Math.ceil(plainLength / SEGMENT_BYTES) * SEAL_OVERHEAD_BYTES;
}

/** The packs of a decoded index one by one, each made into objects only while it is looked at. */
export function packsOf(index: DecodedIndex): Iterable<IndexPack> {
  return { [Symbol.iterator]: () => generatePacks(index) };
}

function* generatePacks(index: DecodedIndex): Generator<IndexPack, undefined> {
  for (let pack = 0; pack < index.packCount; pack++) yield packOf(index, pack);
}

/** One pack of a decoded index as objects; buffers are views. */
export function packOf(index: DecodedIndex, pack: number): IndexPack {
  const { frames: columns, packFrames, packNames, origins } = index;
  const frames: IndexFrame[] = [];
  let origin = origins.subarray(0, 32);
  let originIndex = 0;
  for (let frame = packFrames[pack]; frame < packFrames[pack + 1]; frame++) {
    if (columns.originIndexes[frame] !== originIndex) {
      originIndex = columns.originIndexes[frame];
      origin = origins.subarray(originIndex * 32, originIndex * 32 + 32);
    }
    const forwards = columns.forwards.get(frame);
    frames.push({
      kind: frameKindOf(columns.kinds[frame])!,
      origin,
      number: columns.numbers[frame],
      offset: columns.offsets[frame],
      length: columns.lengths[frame],
      checksum: columns.checksums.subarray(frame * 16, frame * 16 + 16),
      ...(forwards && { forwards }),
    });
  }
  return { name: packNames.subarray(pack * 32, pack * 32 + 32), sizeBytes: index.packSizes[pack], frames };
}

/** Blobs to seal, in any order. */
export interface BlobEntries extends Omit<BlobColumns, "ids"> {
  readonly frameNames: FrameNames;
  /** First 16 bytes of each id, one after another. */
  readonly ids: Uint8Array;
}

/** Sorts blobs by id and seals them. `salt` is random unless a test wants the same bytes twice. */
export function sealBlobSection(
  indexKey: Uint8Array,
  repositoryId: Uint8Array,
  entries: BlobEntries,
  salt: Uint8Array = randomBytes(32),
): BlobSection {
  const { count } = entries;
  const plain = sortedColumns(entries);
  const sealed = Buffer.allocUnsafeSlow(sealedSize(count));
  const key = createKeyedHash(indexKey).hash(salt);
  const aad = sectionAad(repositoryId, count);
  let at = 0;
  for (let start = 0, segment = 0; start < plain.length; start += SEGMENT_BYTES, segment++) {
    at = sealInto(sealed, at, key, segment, aad, [plain.subarray(start, start + SEGMENT_BYTES)]);
  }
  freeMemory(plain);
  return { frameNames: entries.frameNames, blobCount: count, salt, sealed };
}

function sectionAad(repositoryId: Uint8Array, blobCount: number): Buffer {
  const segments = Buffer.allocUnsafe(4);
  segments.writeUInt32LE(Math.ceil((blobCount * BLOB_BYTES) / SEGMENT_BYTES));
  return Buffer.concat([repositoryId, segments]);
}

/** The four columns one after another, in ascending order of id. */
function sortedColumns(entries: BlobEntries): Buffer {
  const { count } = entries;
  const order = orderOfIds(entries.ids, count);
  const plain = Buffer.allocUnsafeSlow(count * BLOB_BYTES);
  const ids = new Uint32Array(plain.buffer, 0, count * 4);
  const frames = new Uint32Array(plain.buffer, count * 16, count);
  const places = new Uint16Array(plain.buffer, count * 20, count);
  // Not in place: this column starts at no multiple of four where the count is odd.
  const lengths = new Uint32Array(count);
  const unsortedIds = asWords(entries.ids);
  for (let to = 0; to < count; to++) {
    const from = order[to];
    ids[to * 4] = unsortedIds[from * 4];
    ids[to * 4 + 1] = unsortedIds[from * 4 + 1];
    ids[to * 4 + 2] = unsortedIds[from * 4 + 2];
    ids[to * 4 + 3] = unsortedIds[from * 4 + 3];
    frames[to] = entries.frames[from];
    places[to] = entries.places[from];
    lengths[to] = entries.lengths[from];
  }
  plain.set(new Uint8Array(lengths.buffer), count * 22);
  return plain;
}

function asWords(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint32Array(aligned.buffer, aligned.byteOffset, Math.floor(bytes.length / 4));
}

/**
 * The order that sorts ids of 16 bytes: a radix sort by their first four bytes in two passes, then a comparison where
 * these are equal. Ids are keyed hashes, so that a million of them share four bytes some hundred times.
 */
function orderOfIds(ids: Uint8Array, count: number): Uint32Array {
  const keys = new Uint32Array(count);
  for (let index = 0; index < count; index++) {
    const at = index * 16;
    keys[index] = ((ids[at] << 24) | (ids[at + 1] << 16) | (ids[at + 2] << 8) | ids[at + 3]) >>> 0;
  }
  const byLow = new Uint32Array(count);
  const starts = bucketStarts(keys, 0);
  for (let index = 0; index < count; index++) byLow[starts[keys[index] & 0xffff]++] = index;
  const order = new Uint32Array(count);
  const highStarts = bucketStarts(keys, 16);
  for (let step = 0; step < count; step++) order[highStarts[keys[byLow[step]] >>> 16]++] = byLow[step];

  const buffer = asBuffer(ids);
  const compare = (a: number, b: number) => buffer.compare(buffer, b * 16, b * 16 + 16, a * 16, a * 16 + 16) || a - b;
  for (let start = 0; start < count;) {
    let end = start + 1;
    while (end < count && keys[order[end]] === keys[order[start]]) end++;
    if (end - start > 1) order.subarray(start, end).sort(compare);
    start = end;
  }
  return order;
}

/** Where each bucket of the keys' 16 bits from `shift` begins. */
function bucketStarts(keys: Uint32Array, shift: number): Uint32Array {
  const starts = new Uint32Array(0x1_0000);
  for (let index = 0; index < keys.length; index++) starts[(keys[index] >>> shift) & 0xffff]++;
  let sum = 0;
  for (let bucket = 0; bucket < starts.length; bucket++) {
    const size = starts[bucket];
    starts[bucket] = sum;
    sum += size;
  }
  return starts;
}

/** Undoes `sealBlobSection`; blobs come in ascending order of id. Throws `DamagedError`, naming the index by `what`. */
export function openBlobSection(
  indexKey: Uint8Array,
  repositoryId: Uint8Array,
  section: BlobSection,
  what = "index",
): BlobColumns {
  const count = section.blobCount;
  const { sealed } = section;
  if (sealed.length !== sealedSize(count)) throw damaged(what, `${count} blobs cannot be in ${sealed.length} bytes`);
  const plain = Buffer.allocUnsafeSlow(count * BLOB_BYTES);
  const key = createKeyedHash(indexKey).hash(section.salt);
  const aad = sectionAad(repositoryId, count);
  let from = 0;
  for (let at = 0, segment = 0; at < plain.length; segment++) {
    const sealedLength = Math.min(SEGMENT_BYTES, plain.length - at) + SEAL_OVERHEAD_BYTES;
    let opened: Buffer;
    try {
      opened = open(key, segment, aad, sealed.subarray(from, from + sealedLength));
    } catch (cause) {
      if (!(cause instanceof SealBrokenError)) throw cause;
      throw damaged(what, `list of blobs: ${cause.message}`, cause);
    }
    at += opened.copy(plain, at);
    from += sealedLength;
  }
  const frames = new Uint32Array(plain.buffer, count * 16, count);
  const nameCount = section.frameNames.numbers.length;
  for (let blob = 0; blob < count; blob++) {
    if (frames[blob] >= nameCount) throw damaged(what, `a blob names frame ${frames[blob]} of ${nameCount}`);
  }
  const lengthsAt = count * 22;
  return {
    count,
    ids: plain.subarray(0, count * 16),
    frames,
    places: new Uint16Array(plain.buffer, count * 20, count),
    // A copy where the column is not aligned.
    lengths:
      lengthsAt % 4 === 0
        ? new Uint32Array(plain.buffer, lengthsAt, count)
        : new Uint32Array(new Uint8Array(plain.subarray(lengthsAt)).buffer),
  };
}
