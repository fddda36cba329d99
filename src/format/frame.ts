/** Frames: blobs laid one after another, compressed and sealed as one (docs/format.md, "Frame"). */
import { type SealKey, SEAL_OVERHEAD_BYTES, SealBrokenError, open, openInPlace, sealInto } from "../crypto/aead.ts";
import { decapsulate, encapsulate } from "../crypto/hpke.ts";
import { messageOf } from "../errors.ts";
import { freeMemory } from "../platform/free-memory.ts";
import type { NativeMemory } from "../platform/libc.ts";
import { zstdDecompress, zstdDecompressInto } from "../platform/zstd.ts";
import { asBuffer, damaged, expectEnd, readU32, readU8, readVarint, readerOf, skip, varintLength } from "./codec.ts";

export const FRAME_HEADER_BYTES = 48;
/** Between the header and the payload: compression and raw length, sealed with it. */
const FRAME_PREFIX_BYTES = 5;
/** What a frame record takes besides its payload. */
export const FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + FRAME_PREFIX_BYTES + SEAL_OVERHEAD_BYTES;

export const MAXIMUM_BLOB_BYTES = 8 * 1024 * 1024;
export const MAXIMUM_SEALED_BYTES = 16 * 1024 * 1024;
export const MAXIMUM_RAW_BYTES = 16 * 1024 * 1024;
export const MAXIMUM_BLOBS_PER_FRAME = 65_535;
export const MAXIMUM_FRAME_NUMBER = 0x7fff_ffff;

export type FrameKind = "data" | "tree";
export type FrameCompression = "none" | "zstd";

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly number: number;
  /** Length of what follows the header, seal included. */
  readonly sealedLength: number;
  /** 32 bytes: the pack that the frame was first written to, and the `enc` of its key. */
  readonly origin: Uint8Array;
}

const FRAME_MAGIC = 0x01464648;

/** The number that stands for a kind in storage. */
export function frameKindNumber(kind: FrameKind): number {
  return kind === "data" ? 1 : 2;
}

/** The kind that a stored number stands for, or undefined. */
export function frameKindOf(number: number): FrameKind | undefined {
  return number === 1 ? "data" : number === 2 ? "tree" : undefined;
}

/** A frame's name for messages. */
export function frameName(origin: Uint8Array, number: number): string {
  return `frame ${asBuffer(origin).toString("hex", 0, 8)}/${number}`;
}

export function encodeFrameHeader(header: FrameHeader): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  writeFrameHeader(bytes, header);
  return bytes;
}

function writeFrameHeader(target: Buffer, header: FrameHeader): void {
  target.writeUInt32LE(FRAME_MAGIC, 0);
  target.writeUInt32LE(frameKindNumber(header.kind), 4);
  target.writeUInt32LE(header.number, 8);
  target.writeUInt32LE(header.sealedLength, 12);
  target.set(header.origin, 16);
}

/** Reads the first 48 bytes of a frame record. `origin` is a view. */
export function decodeFrameHeader(bytes: Uint8Array, what = "frame"): FrameHeader & { readonly origin: Buffer } {
  const input = readerOf(bytes, what);
  if (readU32(input, "header") !== FRAME_MAGIC) throw damaged(what, "no frame header stands there");
  const kind = frameKindOf(readU8(input, "kind"));
  if (kind === undefined) throw damaged(what, `frame kind ${bytes[4]} is unknown`);
  const zero = skip(input, 3, "header");
  if (bytes[zero] !== 0 || bytes[zero + 1] !== 0 || bytes[zero + 2] !== 0)
    throw damaged(what, "its header is malformed");
  const number = readU32(input, "number");
  if (number > MAXIMUM_FRAME_NUMBER) throw damaged(what, `its number ${number} is impossible`);
  const sealedLength = readU32(input, "length");
  if (sealedLength > MAXIMUM_SEALED_BYTES || sealedLength < FRAME_PREFIX_BYTES + SEAL_OVERHEAD_BYTES) {
    throw damaged(what, `its sealed length ${sealedLength} is impossible`);
  }
  const origin = skip(input, 32, "origin");
  return { kind, number, sealedLength, origin: asBuffer(bytes).subarray(origin, origin + 32) };
}

/** What a frame's seal is bound to besides its content. */
export function frameAad(repositoryId: Uint8Array, header: Uint8Array): Buffer {
  const aad = Buffer.allocUnsafe(16 + FRAME_HEADER_BYTES);
  aad.set(repositoryId, 0);
  aad.set(header.subarray(0, FRAME_HEADER_BYTES), 16);
  return aad;
}

/** HPKE's `info` for the frames of a repository. */
export function packInfo(repositoryId: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from("holdfast 2026 pack"), repositoryId]);
}

/** A fresh origin, and the key (32 bytes) that seals all frames which start there. */
export function createFrameKey(publicKey: Uint8Array, repositoryId: Uint8Array): { origin: Buffer; key: Buffer } {
  const context = encapsulate(publicKey, packInfo(repositoryId));
  return { origin: context.enc, key: context.export("frames", 32) };
}

/** The key of all frames of one origin. Throws `DamagedError` where the origin is none. */
export function openFrameKey(privateKey: Uint8Array, origin: Uint8Array, repositoryId: Uint8Array): Buffer {
  try {
    return decapsulate(privateKey, origin, packInfo(repositoryId)).export("frames", 32);
  } catch (cause) {
    if (!(cause instanceof SealBrokenError)) throw cause;
    throw damaged(`origin ${asBuffer(origin).toString("hex")}`, cause.message, cause);
  }
}

export interface FrameToSeal {
  /** Of `origin`. One key must never seal two frames of one number. */
  readonly key: SealKey;
  readonly repositoryId: Uint8Array;
  readonly origin: Uint8Array;
  readonly number: number;
  readonly kind: FrameKind;
  /** How `payload` is compressed already. */
  readonly compression: FrameCompression;
  /** Length of the payload before compression. */
  readonly rawLength: number;
  /** Blob table and blobs, compressed; in one piece or several. */
  readonly payload: Uint8Array | readonly Uint8Array[];
}

/** A whole frame record: header and sealed bytes, in an ArrayBuffer of its own that may be transferred. */
export function sealFrame(frame: FrameToSeal): Buffer {
  const parts = frame.payload instanceof Uint8Array ? [frame.payload] : frame.payload;
  let payloadLength = 0;
  for (const part of parts) payloadLength += part.length;
  const sealedLength = FRAME_PREFIX_BYTES + payloadLength + SEAL_OVERHEAD_BYTES;
  if (sealedLength > MAXIMUM_SEALED_BYTES || frame.rawLength > MAXIMUM_RAW_BYTES) {
    throw new RangeError(`a frame of ${frame.rawLength} bytes is too large`);
  }
  const record = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + sealedLength);
  writeFrameHeader(record, { kind: frame.kind, number: frame.number, sealedLength, origin: frame.origin });
  const prefix = Buffer.allocUnsafe(FRAME_PREFIX_BYTES);
  prefix[0] = frame.compression === "zstd" ? 1 : 0;
  prefix.writeUInt32LE(frame.rawLength, 1);
  const aad = frameAad(frame.repositoryId, record);
  sealInto(record, FRAME_HEADER_BYTES, frame.key, frame.number, aad, [prefix, ...parts]);
  return record;
}

export interface OpenedFrame {
  readonly kind: FrameKind;
  readonly origin: Buffer;
  readonly number: number;
  /** Blob table and blobs, decompressed: see `parseFrameBlobs`. */
  readonly raw: Buffer;
}

/** Where `expected` is given, a record of another name or kind is damage, even if it is whole. */
export function openFrame(
  record: Uint8Array,
  key: SealKey,
  repositoryId: Uint8Array,
  expected?: { readonly kind?: FrameKind; readonly origin?: Uint8Array; readonly number?: number },
): OpenedFrame {
  const { kind, origin, number, sealedLength } = decodeFrameHeader(record, expectedName(expected));
  const what = frameName(origin, number);
  if (expected !== undefined) {
    const same =
      (expected.kind ?? kind) === kind &&
      (expected.number ?? number) === number &&
      (expected.origin === undefined || origin.equals(expected.origin));
    if (!same) throw damaged(expectedName(expected), `in its place stands the ${kind} ${what}`);
  }
  requireLength(record.length, sealedLength, what);
  const aad = frameAad(repositoryId, record);
  const plain = openingSeal(what, () => open(key, number, aad, record.subarray(FRAME_HEADER_BYTES)));
  const payload = plain.subarray(FRAME_PREFIX_BYTES);
  const raw = decompress(plain, what, payload, (rawLength) => zstdDecompress(payload, rawLength));
  if (raw.buffer !== plain.buffer) freeMemory(plain);
  return { kind, origin, number, raw };
}

export interface FrameInPlace {
  readonly kind: FrameKind;
  /** As in `OpenedFrame`: a view of `memory`. */
  readonly raw: Buffer;
  /** That of the record, where the frame is not compressed; else what `take` gave. */
  readonly memory: NativeMemory;
}

/**
 * As `openFrame`, for who opens many: the record lies at the beginning of `memory` and is overwritten, and what is
 * decompressed goes into memory that `take` gives, of at least so many bytes. So no memory has to be made.
 */
export function openFrameInPlace(
  memory: NativeMemory,
  recordLength: number,
  key: SealKey,
  repositoryId: Uint8Array,
  take: (sizeBytes: number) => NativeMemory,
): FrameInPlace {
  const record = memory.bytes.subarray(0, recordLength);
  const { kind, origin, number, sealedLength } = decodeFrameHeader(record);
  const what = frameName(origin, number);
  requireLength(recordLength, sealedLength, what);
  const aad = frameAad(repositoryId, record);
  const plainLength = openingSeal(what, () => openInPlace(key, number, aad, memory, FRAME_HEADER_BYTES, recordLength));
  const start = FRAME_HEADER_BYTES + FRAME_PREFIX_BYTES;
  const end = FRAME_HEADER_BYTES + plainLength;
  let used = memory;
  const raw = decompress(record.subarray(FRAME_HEADER_BYTES), what, record.subarray(start, end), (rawLength) => {
    used = take(rawLength);
    return used.bytes.subarray(0, zstdDecompressInto(memory, start, end, used, rawLength));
  });
  return { kind, raw, memory: used };
}

function requireLength(recordLength: number, sealedLength: number, what: string): void {
  if (recordLength === FRAME_HEADER_BYTES + sealedLength) return;
  throw damaged(what, `it has ${recordLength} bytes instead of ${FRAME_HEADER_BYTES + sealedLength}`);
}

function openingSeal<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof SealBrokenError)) throw cause;
    throw damaged(what, cause.message, cause);
  }
}

function expectedName(expected: { readonly origin?: Uint8Array; readonly number?: number } | undefined): string {
  return expected?.origin === undefined || expected.number === undefined
    ? "frame"
    : frameName(expected.origin, expected.number);
}

/** `prefix`: what comes before the payload. */
function decompress(
  prefix: Buffer,
  what: string,
  payload: Buffer,
  decompressZstd: (rawLength: number) => Buffer,
): Buffer {
  const compression = prefix[0];
  const rawLength = prefix.readUInt32LE(1);
  if (rawLength > MAXIMUM_RAW_BYTES) throw damaged(what, `a raw length of ${rawLength} bytes is more than allowed`);
  let raw: Buffer;
  if (compression === 0) {
    raw = payload;
  } else if (compression === 1) {
    try {
      raw = decompressZstd(rawLength);
    } catch (cause) {
      throw damaged(what, `it does not decompress (${messageOf(cause)})`, cause);
    }
  } else {
    throw damaged(what, `compression ${compression} is unknown`);
  }
  if (raw.length !== rawLength) throw damaged(what, `it holds ${raw.length} bytes instead of ${rawLength}`);
  return raw;
}

/** Where the blobs of a frame lie in its raw bytes. */
export interface FrameBlobs {
  readonly count: number;
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
}

export function parseFrameBlobs(raw: Uint8Array, what = "frame"): FrameBlobs {
  const input = readerOf(raw, what);
  const count = readVarint(input, MAXIMUM_BLOBS_PER_FRAME, "number of blobs");
  if (count === 0 || count > raw.length) throw damaged(what, `it cannot hold ${count} blobs`);
  const offsets = new Uint32Array(count);
  const lengths = new Uint32Array(count);
  for (let place = 0; place < count; place++)
    lengths[place] = readVarint(input, MAXIMUM_BLOB_BYTES, "length of a blob");
  for (let place = 0; place < count; place++) offsets[place] = skip(input, lengths[place], "blob");
  expectEnd(input);
  return { count, offsets, lengths };
}

/** What precedes the blobs in a payload, of blobs of these lengths. */
export function frameBlobTable(lengths: ArrayLike<number>): Buffer {
  let size = varintLength(lengths.length);
  for (let place = 0; place < lengths.length; place++) size += varintLength(lengths[place]);
  const table = Buffer.allocUnsafe(size);
  let at = writeVarintAt(table, 0, lengths.length);
  for (let place = 0; place < lengths.length; place++) at = writeVarintAt(table, at, lengths[place]);
  return table;
}

function writeVarintAt(target: Buffer, at: number, value: number): number {
  for (; value >= 0x80; value >>>= 7) target[at++] = (value & 0x7f) | 0x80;
  target[at++] = value;
  return at;
}
