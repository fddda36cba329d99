/**
 * Reading and writing the integers, byte strings and texts of docs/format.md ("Conventions").
 *
 * A reader never trusts a length: each is held against the bytes that are there before anything is allocated, and what
 * does not fit is a `DamagedError` that names the object (`what`), the place and the problem.
 */
import { DamagedError } from "../errors.ts";

/** A place in some bytes. Functions below move `at` forward. */
export interface ByteReader {
  readonly bytes: Buffer;
  readonly end: number;
  /** Names the object in messages: `index 3fa1…`. */
  readonly what: string;
  at: number;
}

/** Reads `bytes` (a view of them is kept, nothing is copied) from the start, or from `at` to `end`. */
export function readerOf(bytes: Uint8Array, what: string, at = 0, end = bytes.length): ByteReader {
  return { bytes: asBuffer(bytes), end, what, at };
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The error for bytes that are not what they should be. */
export function damaged(what: string, problem: string, cause?: unknown): DamagedError {
  return new DamagedError(`${what} is damaged: ${problem}`, { cause });
}

/** As `damaged`, with the place the reader has come to. */
export function damagedAt(input: ByteReader, problem: string): DamagedError {
  return damaged(input.what, `${problem} (at byte ${input.at})`);
}

export function remainingBytes(input: ByteReader): number {
  return input.end - input.at;
}

/** Moves on by `length` bytes and gives where they start. */
export function skip(input: ByteReader, length: number, field = "bytes"): number {
  const start = input.at;
  if (!(length >= 0 && length <= input.end - start)) {
    throw damagedAt(input, `${field} needs ${length} bytes, ${input.end - start} are left`);
  }
  input.at = start + length;
  return start;
}

export function readU8(input: ByteReader, field?: string): number {
  return input.bytes[skip(input, 1, field)];
}

export function readU16(input: ByteReader, field?: string): number {
  return input.bytes.readUInt16LE(skip(input, 2, field));
}

export function readU32(input: ByteReader, field?: string): number {
  return input.bytes.readUInt32LE(skip(input, 4, field));
}

/** A signed 64-bit integer; outside of ±(2^53 - 1) it is damage. */
export function readI64(input: ByteReader, field = "i64"): number {
  const start = skip(input, 8, field);
  const value = input.bytes.readInt32LE(start + 4) * 2 ** 32 + input.bytes.readUInt32LE(start);
  if (!Number.isSafeInteger(value)) throw damagedAt(input, `${field} is out of range`);
  return value;
}

/** A varint, at most `maximum`. Only the shortest form is taken, so that equal values have equal bytes. */
export function readVarint(input: ByteReader, maximum = Number.MAX_SAFE_INTEGER, field = "number"): number {
  const { bytes, end } = input;
  let at = input.at;
  let value = 0;
  // Up to four bytes in whole numbers of 32 bits: nearly all, and without a heap number for each.
  for (let shift = 0; shift < 28 && at < end; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      if ((byte === 0 && shift > 0) || value > maximum) break;
      input.at = at;
      return value;
    }
  }
  return readUnusualVarint(input, maximum, field);
}

function readUnusualVarint(input: ByteReader, maximum: number, field: string): number {
  const { bytes, end } = input;
  const start = input.at;
  let value = 0;
  let scale = 1;
  for (let at = start; at < end && at < start + 8; at++) {
    const byte = bytes[at];
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (byte === 0 && at > start) throw damagedAt(input, `${field} is not in its shortest form`);
      if (value > maximum) throw damagedAt(input, `${field} ${value} is more than ${maximum}`);
      input.at = at + 1;
      return value;
    }
    scale *= 128;
  }
  throw damagedAt(input, end - start < 8 ? `${field} is cut off` : `${field} is too long`);
}

/**
 * A count of things that take at least `bytesEach` bytes each, at most `maximum`. A count that the rest of the input
 * could not hold is damage, so a reader may allocate for what it says.
 */
export function readCount(input: ByteReader, bytesEach: number, maximum = 0xffff_ffff, field = "count"): number {
  const count = readVarint(input, maximum, field);
  if (count * bytesEach > input.end - input.at) {
    throw damagedAt(input, `${field} is ${count}, more than ${input.end - input.at} bytes can hold`);
  }
  return count;
}

/** A view of the next `length` bytes. */
export function readRaw(input: ByteReader, length: number, field?: string): Buffer {
  const start = skip(input, length, field);
  return input.bytes.subarray(start, start + length);
}

/** A view of a length-prefixed byte string of at most `maximum` bytes. */
export function readBytes(input: ByteReader, maximum = 0xffff_ffff, field = "bytes"): Buffer {
  const length = readVarint(input, maximum, field);
  return readRaw(input, length, field);
}

/** A length-prefixed text of at most `maximumBytes`; what is not UTF-8 is damage. */
export function readText(input: ByteReader, maximumBytes = 0xffff, field = "text"): string {
  const length = readVarint(input, maximumBytes, field);
  const start = skip(input, length, field);
  return textOf(input, start, length, field);
}

function textOf(input: ByteReader, start: number, length: number, field: string): string {
  if (length < 24) {
    // Short ASCII is what nearly all texts are; leaving it in JavaScript is faster than a call into C++.
    let text = "";
    let at = start;
    for (; at < start + length && input.bytes[at] < 0x80; at++) text += String.fromCharCode(input.bytes[at]);
    if (at === start + length) return text;
  }
  const text = input.bytes.toString("utf8", start, start + length);
  if (text.includes("\ufffd") && !Buffer.from(text, "utf8").equals(input.bytes.subarray(start, start + length))) {
    throw damagedAt(input, `${field} is not valid UTF-8`);
  }
  return text;
}

/** A length-prefixed byte string as one character a byte. */
export function readLatin1(input: ByteReader, maximum: number, field = "bytes"): string {
  const length = readVarint(input, maximum, field);
  const start = skip(input, length, field);
  return input.bytes.toString("latin1", start, start + length);
}

export function expectEnd(input: ByteReader): void {
  if (input.at !== input.end) throw damagedAt(input, `${input.end - input.at} bytes too many`);
}

/** Bytes being written; `buffer` is replaced by a larger one as it fills. */
export interface ByteWriter {
  buffer: Buffer;
  length: number;
}

export function createWriter(capacity = 256): ByteWriter {
  return { buffer: Buffer.allocUnsafeSlow(capacity), length: 0 };
}

/** Makes room for `extra` more bytes. */
export function reserve(output: ByteWriter, extra: number): void {
  const needed = output.length + extra;
  if (needed <= output.buffer.length) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(needed, output.buffer.length * 2));
  output.buffer.copy(larger, 0, 0, output.length);
  output.buffer = larger;
}

export function writeU8(output: ByteWriter, value: number): void {
  reserve(output, 1);
  output.buffer[output.length++] = value;
}

export function writeU32(output: ByteWriter, value: number): void {
  reserve(output, 4);
  output.length = output.buffer.writeUInt32LE(value, output.length);
}

export function writeI64(output: ByteWriter, value: number): void {
  reserve(output, 8);
  const high = Math.floor(value / 2 ** 32);
  output.buffer.writeUInt32LE(value - high * 2 ** 32, output.length);
  output.buffer.writeInt32LE(high, output.length + 4);
  output.length += 8;
}

export function writeVarint(output: ByteWriter, value: number): void {
  reserve(output, 8);
  const { buffer } = output;
  let at = output.length;
  while (value >= 0x8000_0000) {
    buffer[at++] = (value % 128) | 0x80;
    value = Math.floor(value / 128);
  }
  while (value >= 0x80) {
    buffer[at++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  buffer[at++] = value;
  output.length = at;
}

export function writeRaw(output: ByteWriter, bytes: Uint8Array): void {
  reserve(output, bytes.length);
  output.buffer.set(bytes, output.length);
  output.length += bytes.length;
}

export function writeBytes(output: ByteWriter, bytes: Uint8Array): void {
  writeVarint(output, bytes.length);
  writeRaw(output, bytes);
}

export function writeText(output: ByteWriter, text: string): void {
  if (text.length < 24 && writeShortAscii(output, text)) return;
  const length = Buffer.byteLength(text, "utf8");
  writeVarint(output, length);
  reserve(output, length);
  output.length += output.buffer.write(text, output.length, "utf8");
}

function writeShortAscii(output: ByteWriter, text: string): boolean {
  reserve(output, text.length + 1);
  const { buffer } = output;
  let at = output.length + 1;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code >= 0x80) return false;
    buffer[at++] = code;
  }
  buffer[output.length] = text.length;
  output.length = at;
  return true;
}

/** Writes a string of one character a byte as a length-prefixed byte string. */
export function writeLatin1(output: ByteWriter, text: string): void {
  writeVarint(output, text.length);
  reserve(output, text.length);
  if (text.length < 32) {
    const { buffer } = output;
    let at = output.length;
    for (let index = 0; index < text.length; index++) buffer[at++] = text.charCodeAt(index);
    output.length = at;
  } else {
    output.length += output.buffer.write(text, output.length, "latin1");
  }
}

/** A copy of what was written. */
export function writtenCopy(output: ByteWriter): Buffer {
  const copy = Buffer.allocUnsafeSlow(output.length);
  output.buffer.copy(copy, 0, 0, output.length);
  return copy;
}

/** What was written, without copying; the writer must not be used afterwards. */
export function writtenView(output: ByteWriter): Buffer {
  return output.buffer.subarray(0, output.length);
}

/** Length in bytes of a varint. */
export function varintLength(value: number): number {
  let length = 1;
  for (; value >= 0x80; value = Math.floor(value / 128)) length++;
  return length;
}
