import { blockLengthAt, readSumHead } from "./block-sums.ts";
import type { SumHead } from "./block-sums.ts";
import type { ByteInput } from "./byte-input.ts";
import { weakSum } from "./checksums.ts";
import type { RunningSum, StrongSums } from "./checksums.ts";
import type { TokenWriter } from "./token-writer.ts";

/** More blocks than this are not searched for: their file is sent whole. They would cover 512 GiB. */
const MOST_BLOCKS = 4 * 1024 * 1024;
/** Blocks of one weak sum that are compared at one place: more would let a peer keep us busy for ever. */
const LONGEST_CHAIN = 256;
const LITERAL_BYTES = 256 * 1024;
/**
 * Where more than this, and so many times what was searched, has been summed to compare blocks, the rest is sent as it is.
 * Sums that are made up for it could make us sum a whole block at each byte of a file.
 */
const VAIN_BYTES = 256 * 1024 * 1024;
const VAIN_FACTOR = 16;

/** The sums of a receiver's file, ready to be searched. */
export interface BlockIndex {
  readonly head: SumHead;
  /** Undefined where there is nothing to search for. */
  readonly blocks: SearchableBlocks | undefined;
}

interface SearchableBlocks {
  readonly weak: Int32Array;
  readonly strong: Buffer;
  /** By hash of the weak sum: the first block of a chain. */
  readonly heads: Int32Array;
  readonly next: Int32Array;
  readonly mask: number;
}

/** Reads the sums that follow a request. Memory grows with what arrives, not with what is announced. */
export async function receiveBlockSums(input: ByteInput, protocol: number, digestBytes: number): Promise<BlockIndex> {
  const head = await input.decode((from) => readSumHead(from, protocol, digestBytes));
  const isSearched = head.count > 0 && head.count <= MOST_BLOCKS;
  let weak = new Int32Array(isSearched ? Math.min(head.count, 1024) : 0);
  let strong = Buffer.alloc(weak.length * head.strongBytes);
  for (let block = 0; block < head.count; block++) {
    if (isSearched && block === weak.length) {
      const larger = new Int32Array(Math.min(head.count, block * 2));
      larger.set(weak);
      weak = larger;
      strong = Buffer.concat([strong, Buffer.alloc((larger.length - block) * head.strongBytes)]);
    }
    const read = input.tryDecode((from) => ({ weak: from.int32(), strong: from.view(head.strongBytes) }));
    if (read === undefined) {
      await input.more();
      block--;
      continue;
    }
    if (!isSearched) continue;
    weak[block] = read.weak;
    strong.set(read.strong, block * head.strongBytes);
  }
  return { head, blocks: isSearched ? indexBlocks(weak, strong) : undefined };
}

function indexBlocks(weak: Int32Array, strong: Buffer): SearchableBlocks {
  const size = 2 ** Math.max(10, Math.ceil(Math.log2(weak.length * 2)));
  const heads = new Int32Array(size).fill(-1);
  const next = new Int32Array(weak.length);
  // From the last, so that the first of equal blocks is found first.
  for (let block = weak.length - 1; block >= 0; block--) {
    const slot = hashWeak(weak[block]) & (size - 1);
    next[block] = heads[slot];
    heads[slot] = block;
  }
  return { weak, strong, heads, next, mask: size - 1 };
}

const hashWeak = (weak: number): number => (Math.imul(weak, 0x9e3779b1) >>> 12) ^ weak;

/**
 * Sends a file's content as literals and blocks of the receiver's file (the rsync algorithm; "The rsync algorithm",
 * Tridgell and Mackerras, 1996). `sum` is updated with all of it.
 */
export async function sendDelta(
  pieces: AsyncIterable<Uint8Array>,
  index: BlockIndex,
  sums: StrongSums,
  sum: RunningSum,
  tokens: TokenWriter,
): Promise<{ readonly literalBytes: number; readonly matchedBytes: number }> {
  if (index.blocks === undefined) return sendWhole(pieces, sum, tokens);
  const search = new DeltaSearch(index.head, index.blocks, sums, sum, tokens);
  for await (const piece of pieces) {
    search.add(piece);
    await search.advance(false);
  }
  await search.advance(true);
  await tokens.endFile();
  return search.counts;
}

async function sendWhole(pieces: AsyncIterable<Uint8Array>, sum: RunningSum, tokens: TokenWriter) {
  let literalBytes = 0;
  for await (const piece of pieces) {
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    sum.update(bytes);
    literalBytes += bytes.length;
    await tokens.literal(bytes);
  }
  await tokens.endFile();
  return { literalBytes, matchedBytes: 0 };
}

class DeltaSearch {
  readonly counts = { literalBytes: 0, matchedBytes: 0 };
  readonly #head: SumHead;
  readonly #blocks: SearchableBlocks;
  readonly #sums: StrongSums;
  readonly #sum: RunningSum;
  readonly #tokens: TokenWriter;
  /** What has been read and not yet sent: `#buffer[#sent, #end)`, searched up to `#at`. */
  #buffer = Buffer.alloc(LITERAL_BYTES * 4);
  #sent = 0;
  #at = 0;
  #end = 0;
  /** Halves of the weak sum of the window at `#at`; its length, or 0 where it must be summed anew. */
  #low = 0;
  #high = 0;
  #summed = 0;
  #wanted = 0;
  #searchedBytes = 0;
  #summedBytes = 0;

  constructor(head: SumHead, blocks: SearchableBlocks, sums: StrongSums, sum: RunningSum, tokens: TokenWriter) {
    this.#head = head;
    this.#blocks = blocks;
    this.#sums = sums;
    this.#sum = sum;
    this.#tokens = tokens;
  }

  add(piece: Uint8Array): void {
    if (this.#end + piece.length > this.#buffer.length) {
      const kept = this.#end - this.#sent;
      const target = kept + piece.length > this.#buffer.length ? Buffer.alloc((kept + piece.length) * 2) : this.#buffer;
      this.#buffer.copy(target, 0, this.#sent, this.#end);
      this.#buffer = target;
      this.#at -= this.#sent;
      this.#end = kept;
      this.#sent = 0;
    }
    this.#buffer.set(piece, this.#end);
    this.#end += piece.length;
  }

  /** Goes on until a whole block cannot be looked at any more; at the end of the file, until nothing is left. */
  async advance(isEnd: boolean): Promise<void> {
    const { blockBytes } = this.#head;
    const needed = isEnd ? 1 : blockBytes + 1;
    while (this.#end - this.#at >= needed) {
      if (this.#isInVain) {
        await this.#giveUp();
        break;
      }
      const match = this.#searchFrom(needed);
      if (match >= 0) await this.#sendMatch(match);
      else if (this.#at - this.#sent >= LITERAL_BYTES) await this.#sendLiteral(this.#at);
    }
    if (isEnd) await this.#sendLiteral(this.#end);
  }

  get #isInVain(): boolean {
    return this.#summedBytes > VAIN_BYTES + VAIN_FACTOR * this.#searchedBytes;
  }

  /** Sends what is here without looking at it. */
  async #giveUp(): Promise<void> {
    this.#at = this.#end;
    this.#summed = 0;
    await this.#sendLiteral(this.#end);
  }

  /** Rolls forward to the next place where a block lies, or to where literals should be sent, or data ends: -1. */
  #searchFrom(needed: number): number {
    const stop = Math.min(this.#end - needed, this.#sent + LITERAL_BYTES);
    if (this.#summed === 0) this.#sumAnew();
    const start = this.#at;
    const match = this.#roll(stop);
    this.#searchedBytes += this.#at - start;
    return match;
  }

  #roll(stop: number): number {
    const { blockBytes } = this.#head;
    const { heads, mask } = this.#blocks;
    const buffer = this.#buffer;
    while (this.#at <= stop) {
      const weak = (this.#low & 0xffff) | (this.#high << 16);
      if (heads[hashWeak(weak) & mask] >= 0) {
        const match = this.#matchAt(weak, this.#summed);
        if (match >= 0) return match;
        if (this.#isInVain) return -1;
      }
      const first = (buffer[this.#at] << 24) >> 24;
      this.#low = (this.#low - first) | 0;
      this.#high = (this.#high - Math.imul(this.#summed, first)) | 0;
      this.#at++;
      if (this.#at + blockBytes <= this.#end) {
        this.#low = (this.#low + ((buffer[this.#at + blockBytes - 1] << 24) >> 24)) | 0;
        this.#high = (this.#high + this.#low) | 0;
      } else {
        this.#summed--;
      }
    }
    return -1;
  }

  #sumAnew(): void {
    this.#summed = Math.min(this.#head.blockBytes, this.#end - this.#at);
    const weak = weakSum(this.#buffer, this.#at, this.#summed);
    this.#low = weak & 0xffff;
    this.#high = weak >>> 16;
  }

  #matchAt(weak: number, length: number): number {
    const { weak: weaks, strong, heads, next, mask } = this.#blocks;
    const { strongBytes } = this.#head;
    let sum: Uint8Array | undefined;
    const isSame = (block: number): boolean => {
      if (weaks[block] !== weak || blockLengthAt(this.#head, block) !== length) return false;
      if (sum === undefined) {
        sum = this.#sums.block(this.#buffer.subarray(this.#at, this.#at + length));
        this.#summedBytes += length;
      }
      for (let i = 0; i < strongBytes; i++) if (strong[block * strongBytes + i] !== sum[i]) return false;
      return true;
    };
    // Where several blocks are alike, the one after the last match makes the shortest tokens.
    if (this.#wanted < weaks.length && isSame(this.#wanted)) return this.#wanted;
    let block = heads[hashWeak(weak) & mask];
    for (let looked = 0; block >= 0 && looked < LONGEST_CHAIN; looked++) {
      if (isSame(block)) return block;
      block = next[block];
    }
    return -1;
  }

  async #sendMatch(block: number): Promise<void> {
    await this.#sendLiteral(this.#at);
    const content = this.#buffer.subarray(this.#at, this.#at + blockLengthAt(this.#head, block));
    this.#sum.update(content);
    this.#searchedBytes += content.length;
    this.counts.matchedBytes += content.length;
    await this.#tokens.block(block, content);
    this.#at += content.length;
    this.#sent = this.#at;
    this.#summed = 0;
    this.#wanted = block + 1;
  }

  async #sendLiteral(end: number): Promise<void> {
    if (end === this.#sent) return;
    const literal = this.#buffer.subarray(this.#sent, end);
    this.#sum.update(literal);
    this.counts.literalBytes += literal.length;
    await this.#tokens.literal(literal);
    this.#sent = end;
  }
}
