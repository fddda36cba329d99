import { RsyncProtocolError } from "./rsync-error.ts";

const SEGMENT_BITS = 14;
const SEGMENT_LENGTH = 1 << SEGMENT_BITS;
const SEGMENT_MASK = SEGMENT_LENGTH - 1;

type NumberArray = Uint16Array | Uint32Array | Float64Array;

/** Numbers by index, in segments that come into being when something is stored in them: no copying, little slack. */
export class Column {
  readonly #make: (length: number) => NumberArray;
  readonly #segments: (NumberArray | undefined)[] = [];

  constructor(kind: "u16" | "u32" | "f64") {
    this.#make = (length) => {
      if (kind === "u16") return new Uint16Array(length);
      return kind === "u32" ? new Uint32Array(length) : new Float64Array(length);
    };
  }

  /** 0 where nothing was stored. */
  get(index: number): number {
    const segment = this.#segments[index >>> SEGMENT_BITS];
    return segment === undefined ? 0 : segment[index & SEGMENT_MASK];
  }

  set(index: number, value: number): void {
    const number = index >>> SEGMENT_BITS;
    const segment = (this.#segments[number] ??= this.#make(SEGMENT_LENGTH));
    segment[index & SEGMENT_MASK] = value;
  }

  clear(): void {
    this.#segments.length = 0;
  }
}

const STORE_SEGMENT_BITS = 20;
const STORE_SEGMENT_BYTES = 1 << STORE_SEGMENT_BITS;
const STORE_SEGMENT_MASK = STORE_SEGMENT_BYTES - 1;
const LENGTH_BYTES = 2;
const LARGEST_STORE_BYTES = 2 ** 32;

/** Byte strings of up to 65,535 bytes, one after another; each is known by a number below 2^32, never 0. */
export class ByteStore {
  readonly #segments: Buffer[] = [];
  #end = 0;

  add(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    const needed = LENGTH_BYTES + length;
    // Number 0 is for "nothing", so the first byte of the first segment stays unused.
    const room = this.#segments.length * STORE_SEGMENT_BYTES - this.#end;
    if (needed > room) this.#startSegment();
    const place = this.#end;
    const segment = this.#segments[place >>> STORE_SEGMENT_BITS];
    const at = place & STORE_SEGMENT_MASK;
    segment.writeUInt16LE(length, at);
    for (let i = 0; i < length; i++) segment[at + LENGTH_BYTES + i] = bytes[start + i];
    this.#end += needed;
    return place;
  }

  #startSegment(): void {
    const start = this.#segments.length * STORE_SEGMENT_BYTES;
    if (start + STORE_SEGMENT_BYTES > LARGEST_STORE_BYTES) {
      throw new RsyncProtocolError("the list of files is too long: its names take more than 4 GiB");
    }
    this.#segments.push(Buffer.allocUnsafeSlow(STORE_SEGMENT_BYTES));
    this.#end = start === 0 ? 1 : start;
  }

  /** A view of a string; not to be written to. */
  get(place: number): Buffer {
    const segment = this.#segments[place >>> STORE_SEGMENT_BITS];
    const at = place & STORE_SEGMENT_MASK;
    const length = segment.readUInt16LE(at);
    return segment.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  latin1(place: number): string {
    const segment = this.#segments[place >>> STORE_SEGMENT_BITS];
    const at = place & STORE_SEGMENT_MASK;
    const length = segment[at] | (segment[at + 1] << 8);
    return segment.latin1Slice(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  equals(place: number, bytes: Uint8Array, start: number, end: number): boolean {
    const segment = this.#segments[place >>> STORE_SEGMENT_BITS];
    const at = place & STORE_SEGMENT_MASK;
    const length = segment[at] | (segment[at + 1] << 8);
    if (length !== end - start) return false;
    for (let i = 0; i < length; i++) if (segment[at + LENGTH_BYTES + i] !== bytes[start + i]) return false;
    return true;
  }

  /** Order of two strings by bytes; `suffix` is a byte that is thought to follow each, or -1 for none. */
  compare(placeA: number, placeB: number, suffix: number): number {
    const a = this.#segments[placeA >>> STORE_SEGMENT_BITS];
    const b = this.#segments[placeB >>> STORE_SEGMENT_BITS];
    const atA = placeA & STORE_SEGMENT_MASK;
    const atB = placeB & STORE_SEGMENT_MASK;
    const lengthA = a[atA] | (a[atA + 1] << 8);
    const lengthB = b[atB] | (b[atB + 1] << 8);
    const common = Math.min(lengthA, lengthB);
    for (let i = 0; i < common; i++) {
      const difference = a[atA + LENGTH_BYTES + i] - b[atB + LENGTH_BYTES + i];
      if (difference !== 0) return difference;
    }
    if (lengthA === lengthB) return 0;
    const nextA = lengthA > common ? a[atA + LENGTH_BYTES + common] : suffix;
    const nextB = lengthB > common ? b[atB + LENGTH_BYTES + common] : suffix;
    return nextA - nextB || lengthA - lengthB;
  }
}
