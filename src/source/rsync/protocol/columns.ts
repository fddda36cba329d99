import type { SpillFile } from "../../../platform/spill-file.ts";
import { RsyncProtocolError } from "./rsync-error.ts";
import type { SegmentOwner, SegmentPool } from "./segment-pool.ts";

/** Small, as reading a folder's rows brings a segment of each column. */
const SEGMENT_BITS = 11;
const SEGMENT_LENGTH = 1 << SEGMENT_BITS;
const SEGMENT_MASK = SEGMENT_LENGTH - 1;

type NumberArray = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

const VIEWS = { u16: Uint16Array, u32: Uint32Array, f64: Float64Array };

/**
 * Numbers by index, in segments that come into being when something is stored in them: no copying, little slack. With a
 * pool, those that are not in use may wait in a file.
 */
export class Column implements SegmentOwner {
  readonly #bytes: number;
  readonly #view: (memory: ArrayBuffer) => NumberArray;
  readonly #pool: SegmentPool | undefined;
  readonly #segments: (NumberArray | undefined)[] = [];
  /** Where segments lie that were put away. */
  readonly #places = new Map<number, number>();
  /** The same of those that came back, and have not been changed since. */
  readonly #unchanged = new Map<number, number>();

  constructor(kind: keyof typeof VIEWS, pool?: SegmentPool) {
    this.#pool = pool;
    const View = VIEWS[kind];
    this.#bytes = SEGMENT_LENGTH * View.BYTES_PER_ELEMENT;
    this.#view = (memory) => new View(memory);
  }

  /** Whether nothing was ever stored. */
  get isEmpty(): boolean {
    return this.#segments.length === 0;
  }

  /** 0 where nothing was stored. */
  get(index: number): number {
    const number = index >>> SEGMENT_BITS;
    const segment = this.#segments[number] ?? this.#bringBack(number);
    return segment === undefined ? 0 : segment[index & SEGMENT_MASK];
  }

  set(index: number, value: number): void {
    const number = index >>> SEGMENT_BITS;
    const segment = this.#segments[number] ?? this.#bringBack(number) ?? this.#start(number);
    segment[index & SEGMENT_MASK] = value;
    if (this.#unchanged.size > 0) this.#unchanged.delete(number);
  }

  putAway(number: number, file: SpillFile): void {
    const segment = this.#segments[number];
    if (segment === undefined) return;
    this.#segments[number] = undefined;
    const place = this.#unchanged.get(number);
    this.#unchanged.delete(number);
    this.#places.set(number, place ?? file.append(bytesOf(segment)));
    this.#pool?.giveBack(segment.buffer);
  }

  /** With anything in it. */
  #make(): NumberArray {
    return this.#view(this.#pool?.memory(this.#bytes) ?? new ArrayBuffer(this.#bytes));
  }

  #start(number: number): NumberArray {
    const segment = this.#make().fill(0);
    this.#segments[number] = segment;
    this.#pool?.hold(this, number, segment.byteLength);
    return segment;
  }

  #bringBack(number: number): NumberArray | undefined {
    const place = this.#places.get(number);
    if (place === undefined) return undefined;
    const segment = this.#make();
    this.#pool?.readAgain(place, bytesOf(segment));
    this.#places.delete(number);
    this.#unchanged.set(number, place);
    this.#segments[number] = segment;
    this.#pool?.hold(this, number, segment.byteLength);
    return segment;
  }
}

function bytesOf(array: NumberArray): Uint8Array {
  return new Uint8Array(array.buffer);
}

const STORE_SEGMENT_BITS = 17;
const STORE_SEGMENT_BYTES = 1 << STORE_SEGMENT_BITS;
const STORE_SEGMENT_MASK = STORE_SEGMENT_BYTES - 1;
const LENGTH_BYTES = 2;
const LARGEST_STORE_BYTES = 2 ** 32;
/** So many segments that were put away stay as they are, for whoever still looks at a string. */
const LEFT_SEGMENTS = 4;

/**
 * Byte strings of up to 65,535 bytes, one after another; each is known by a number below 2^32, never 0. With a pool, those
 * that are not in use may wait in a file.
 */
export class ByteStore implements SegmentOwner {
  readonly #pool: SegmentPool | undefined;
  readonly #segments: (Buffer<ArrayBuffer> | undefined)[] = [];
  readonly #places = new Map<number, number>();
  /** Memory of those that were put away last. */
  readonly #left: Buffer<ArrayBuffer>[] = [];
  #end = 0;

  constructor(pool?: SegmentPool) {
    this.#pool = pool;
  }

  /** Only full ones are put away, which do not change any more. */
  putAway(number: number, file: SpillFile): void {
    const segment = this.#segments[number];
    this.#segments[number] = undefined;
    if (segment === undefined) return;
    if (!this.#places.has(number)) this.#places.set(number, file.append(segment));
    this.#left.push(segment);
    const longest = this.#left.length > LEFT_SEGMENTS ? this.#left.shift() : undefined;
    if (longest !== undefined) this.#pool?.giveBack(longest.buffer);
  }

  /** With anything in it. */
  #make(): Buffer<ArrayBuffer> {
    return Buffer.from(this.#pool?.memory(STORE_SEGMENT_BYTES) ?? new ArrayBuffer(STORE_SEGMENT_BYTES));
  }

  #segment(number: number): Buffer<ArrayBuffer> {
    return this.#segments[number] ?? this.#bringBack(number);
  }

  #bringBack(number: number): Buffer<ArrayBuffer> {
    const place = this.#places.get(number);
    if (place === undefined) throw new RangeError("no such place in a store of bytes");
    const segment = this.#make();
    this.#pool?.readAgain(place, segment);
    this.#segments[number] = segment;
    this.#pool?.hold(this, number, segment.length);
    return segment;
  }

  add(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    const needed = LENGTH_BYTES + length;
    // Number 0 is for "nothing", so the first byte of the first segment stays unused.
    const room = this.#segments.length * STORE_SEGMENT_BYTES - this.#end;
    if (needed > room) this.#startSegment();
    const place = this.#end;
    const segment = this.#segment(place >>> STORE_SEGMENT_BITS);
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
    const full = this.#segments.length - 1;
    this.#segments.push(this.#make());
    if (full >= 0) this.#pool?.hold(this, full, STORE_SEGMENT_BYTES);
    this.#end = start === 0 ? 1 : start;
  }

  /** A view of a string; not to be written to, and to be looked at before a few others are asked for. */
  get(place: number): Buffer {
    const segment = this.#segment(place >>> STORE_SEGMENT_BITS);
    const at = place & STORE_SEGMENT_MASK;
    const length = segment.readUInt16LE(at);
    return segment.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  latin1(place: number): string {
    const segment = this.#segment(place >>> STORE_SEGMENT_BITS);
    const at = place & STORE_SEGMENT_MASK;
    const length = segment[at] | (segment[at + 1] << 8);
    return segment.latin1Slice(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  length(place: number): number {
    const segment = this.#segment(place >>> STORE_SEGMENT_BITS);
    const at = place & STORE_SEGMENT_MASK;
    return segment[at] | (segment[at + 1] << 8);
  }

  /** 32 bits of a string, in a way that `factor` chooses. */
  hash(place: number, factor: number): number {
    const segment = this.#segment(place >>> STORE_SEGMENT_BITS);
    const start = (place & STORE_SEGMENT_MASK) + LENGTH_BYTES;
    const end = start + (segment[start - 2] | (segment[start - 1] << 8));
    let hash = factor;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ segment[i], factor);
    return hash;
  }

  equals(place: number, bytes: Uint8Array, start: number, end: number): boolean {
    const segment = this.#segment(place >>> STORE_SEGMENT_BITS);
    const at = place & STORE_SEGMENT_MASK;
    const length = segment[at] | (segment[at + 1] << 8);
    if (length !== end - start) return false;
    for (let i = 0; i < length; i++) if (segment[at + LENGTH_BYTES + i] !== bytes[start + i]) return false;
    return true;
  }

  /** Order of two strings by bytes; `suffix` is a byte that is thought to follow each, or -1 for none. */
  compare(placeA: number, placeB: number, suffix: number): number {
    const a = this.#segment(placeA >>> STORE_SEGMENT_BITS);
    const b = this.#segment(placeB >>> STORE_SEGMENT_BITS);
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
