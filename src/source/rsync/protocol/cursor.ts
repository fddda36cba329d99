import { RsyncProtocolError } from "./rsync-error.ts";

/** Thrown by a `Cursor` that has come to the end of what has arrived so far. Never leaves `ByteInput`. */
// oxlint-disable-next-line typescript/no-extraneous-class -- a thing to throw, known by what it is
export class MoreBytesNeeded {
  static readonly signal = new MoreBytesNeeded();
}

const NOTHING = Buffer.alloc(0);

/** How many bytes follow the first one of a varint, by its upper six bits (rsync's `io.c`, read_varint). */
const EXTRA_BYTES = Uint8Array.from({ length: 64 }, (_, index) => {
  if (index < 32) return 0;
  if (index < 48) return 1;
  if (index < 56) return 2;
  if (index < 60) return 3;
  if (index < 62) return 4;
  return index === 62 ? 5 : 6;
});

/**
 * Reads the numbers and strings of the rsync protocol from bytes that have arrived. All little-endian. Where the bytes
 * run out it throws `MoreBytesNeeded`, so a decoder must not change anything before it has read all that it needs.
 */
export class Cursor {
  /** What has arrived and was not read lies from `at` to `end`. */
  bytes: Buffer = NOTHING;
  at = 0;
  end = 0;

  get remaining(): number {
    return this.end - this.at;
  }

  #need(length: number): number {
    const start = this.at;
    if (start + length > this.end) throw MoreBytesNeeded.signal;
    this.at = start + length;
    return start;
  }

  byte(): number {
    if (this.at >= this.end) throw MoreBytesNeeded.signal;
    return this.bytes[this.at++];
  }

  shortInt(): number {
    return this.bytes.readUInt16LE(this.#need(2));
  }

  int32(): number {
    return this.bytes.readInt32LE(this.#need(4));
  }

  uint32(): number {
    return this.bytes.readUInt32LE(this.#need(4));
  }

  /** A view of the next `length` bytes; valid only until more bytes arrive. The caller has bounded `length`. */
  view(length: number): Buffer {
    const start = this.#need(length);
    return this.bytes.subarray(start, start + length);
  }

  /** Passes over the next `length` bytes. */
  skip(length: number): void {
    this.#need(length);
  }

  /** Copies the next `length` bytes, however many, to a place in `to`, where there must be room. Gives `length`. */
  copyLarge(to: Uint8Array, at: number, length: number): number {
    const start = this.#need(length);
    return this.bytes.copy(to, at, start, start + length);
  }

  /** Copies the next `length` bytes, few of them, to a place in `to`, where there must be room. */
  copyInto(to: Uint8Array, at: number, length: number): void {
    const start = this.#need(length);
    const bytes = this.bytes;
    for (let i = 0; i < length; i++) to[at + i] = bytes[start + i];
  }

  /** A copy of the next `length` bytes. The caller has bounded `length`. */
  copy(length: number): Buffer {
    return Buffer.from(this.view(length));
  }

  /** Signed 32 bits in 1 to 5 bytes. */
  varint(): number {
    const first = this.byte();
    const extra = EXTRA_BYTES[first >> 2];
    if (extra === 0) return first;
    if (extra > 4) throw new RsyncProtocolError("rsync protocol: a number is longer than 32 bits");
    const start = this.#need(extra);
    const bytes = this.bytes;
    let value = 0;
    for (let i = extra - 1; i >= 0; i--) value = (value << 8) | bytes[start + i];
    if (extra < 4) value |= (first & ((1 << (8 - extra)) - 1)) << (8 * extra);
    return value | 0;
  }

  /** A varint that must lie in 0 … `maximum`; `what` names it in the error. */
  boundedVarint(maximum: number, what: string): number {
    const value = this.varint();
    if (value < 0 || value > maximum) throw new RsyncProtocolError(`rsync protocol: ${what} is ${value}, out of range`);
    return value;
  }

  /**
   * Signed 64 bits in `minimumBytes` or more. What lies beyond ±2^53 is brought to that bound: no honest size or time
   * does, and a number that is merely odd must not end a run.
   */
  varlong(minimumBytes: number): number {
    const start = this.#need(minimumBytes);
    const first = this.bytes[start];
    const extra = EXTRA_BYTES[first >> 2];
    const stored = minimumBytes - 1 + extra;
    if (stored > 8) throw new RsyncProtocolError("rsync protocol: a number is longer than 64 bits");
    this.#need(extra);
    const bytes = this.bytes;
    const low = extra === 0 ? first : first & ((1 << (8 - extra)) - 1);
    let lower = 0;
    let upper = 0;
    for (let i = 0; i < stored; i++) {
      const byte = bytes[start + 1 + i];
      if (i < 4) lower += byte * 2 ** (8 * i);
      else upper += byte * 2 ** (8 * (i - 4));
    }
    if (stored < 4) lower += low * 2 ** (8 * stored);
    else if (stored < 8) upper += low * 2 ** (8 * (stored - 4));
    return safeInteger(upper | 0, lower);
  }

  /** 32 bits, or 0xffffffff and then 64: how sizes travelled before protocol 30. */
  longInt(): number {
    const short = this.int32();
    if (short !== -1) return short;
    const lower = this.uint32();
    return safeInteger(this.int32(), lower);
  }

  /** Length in one or two bytes, then that many bytes. */
  vstring(maximumLength: number, what: string): Buffer {
    const first = this.byte();
    const length = first & 0x80 ? (first & 0x7f) * 256 + this.byte() : first;
    if (length > maximumLength) throw new RsyncProtocolError(`rsync protocol: ${what} has ${length} bytes, too many`);
    return this.copy(length);
  }
}

function safeInteger(upper: number, lower: number): number {
  const value = upper * 2 ** 32 + lower;
  if (value > Number.MAX_SAFE_INTEGER) return Number.MAX_SAFE_INTEGER;
  if (value < Number.MIN_SAFE_INTEGER) return Number.MIN_SAFE_INTEGER;
  return value;
}
