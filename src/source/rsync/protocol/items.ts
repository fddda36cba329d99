import type { ByteInput } from "./byte-input.ts";
import type { ByteOutput } from "./byte-output.ts";
import type { Cursor } from "./cursor.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/** Numbers that stand where that of a file could (rsync.h). */
export const INDEX_DONE = -1;
export const INDEX_DELETE_STATISTICS = -3;

/** What is said about a file that is asked for or sent (rsync.h, ITEM_*). */
export const ITEM = {
  reportChange: 1 << 1,
  reportSize: 1 << 2,
  reportTime: 1 << 3,
  reportPermissions: 1 << 4,
  reportOwner: 1 << 5,
  reportGroup: 1 << 6,
  reportAcl: 1 << 7,
  reportXattrs: 1 << 8,
  basisTypeFollows: 1 << 11,
  nameFollows: 1 << 12,
  isNew: 1 << 13,
  localChange: 1 << 14,
  transfer: 1 << 15,
} as const;

/** A file's number, in one byte where it lies close after the one before (io.c, write_ndx). */
export class IndexWriter {
  readonly #protocol: number;
  #lastPositive = -1;
  #lastNegative = 1;

  constructor(protocol: number) {
    this.#protocol = protocol;
  }

  write(to: ByteOutput, index: number): void {
    if (this.#protocol < 30) return to.int32(index);
    if (index === INDEX_DONE) return to.byte(0);
    let difference: number;
    let value = index;
    if (index >= 0) {
      difference = index - this.#lastPositive;
      this.#lastPositive = index;
    } else {
      to.byte(0xff);
      value = -index;
      difference = value - this.#lastNegative;
      this.#lastNegative = value;
    }
    if (difference > 0 && difference < 0xfe) return to.byte(difference);
    to.byte(0xfe);
    if (difference < 0 || difference > 0x7fff) {
      to.byte((value >>> 24) | 0x80);
      to.byte(value & 0xff);
      to.byte((value >>> 8) & 0xff);
      to.byte((value >>> 16) & 0xff);
    } else {
      to.byte(difference >>> 8);
      to.byte(difference & 0xff);
    }
  }
}

/** Reads what `IndexWriter` writes. */
export class IndexReader {
  readonly #protocol: number;
  #lastPositive = -1;
  #lastNegative = 1;

  constructor(protocol: number) {
    this.#protocol = protocol;
  }

  async read(input: ByteInput): Promise<number> {
    const decode = (from: Cursor): number => this.decode(from);
    const index = input.tryDecode(decode) ?? (await input.decode(decode));
    this.note(index);
    return index;
  }

  /** What the next number depends on. To be called once for each number that was decoded for good. */
  note(index: number): void {
    if (this.#protocol < 30) return;
    if (index >= 0) this.#lastPositive = index;
    else if (index !== INDEX_DONE) this.#lastNegative = -index;
  }

  /** Changes nothing but the cursor. */
  decode(from: Cursor): number {
    if (this.#protocol < 30) return from.int32();
    let byte = from.byte();
    if (byte === 0) return INDEX_DONE;
    const isNegative = byte === 0xff;
    if (isNegative) byte = from.byte();
    const previous = isNegative ? this.#lastNegative : this.#lastPositive;
    let value: number;
    if (byte === 0xfe) {
      const high = from.byte();
      const next = from.byte();
      if (high & 0x80) value = (high & 0x7f) * 2 ** 24 + next + from.byte() * 2 ** 8 + from.byte() * 2 ** 16;
      else value = previous + high * 256 + next;
    } else {
      value = previous + byte;
    }
    // A negative 1 would be taken for "done", which has an encoding of its own.
    if (value > 0x7fffffff || (isNegative && value < 2))
      throw new RsyncProtocolError("rsync protocol: an impossible file number");
    return isNegative ? -value : value;
  }
}

/** Which file of the receiver's a transfer is based on; only said where it is not the file itself. */
export interface ItemHead {
  readonly flags: number;
  readonly basisType: number | undefined;
  readonly otherName: Buffer | undefined;
}

const LONGEST_NAME_BYTES = 4095;

export function readItemHead(from: Cursor): ItemHead {
  const flags = from.shortInt();
  const basisType = flags & ITEM.basisTypeFollows ? from.byte() : undefined;
  const otherName = flags & ITEM.nameFollows ? from.vstring(LONGEST_NAME_BYTES, "a name") : undefined;
  return { flags, basisType, otherName };
}

export function writeItemHead(to: ByteOutput, head: ItemHead): void {
  to.shortInt(head.flags);
  if (head.basisType !== undefined) to.byte(head.basisType);
  if (head.otherName !== undefined) to.vstring(head.otherName);
}
