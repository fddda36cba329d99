const BLOCK_BYTES = 256 * 1024;
/** Larger pieces have memory of their own. */
const LARGEST_PIECE_BYTES = 32 * 1024;
/** So many blocks are kept for what comes next. */
const MOST_SPARE_BLOCKS = 16;

interface Block {
  readonly bytes: Buffer;
  /** Where it is free. */
  end: number;
  /** How many pieces of it are in use. */
  pieces: number;
}

/**
 * Memory for small pieces that soon are done with, in about the order in which they were made. They lie side by side in
 * blocks, as a buffer for each costs more than what is in it; and a block is used again when all its pieces were let go
 * of, as waiting for the collector of garbage would let hundreds of megabytes gather where they come by the gigabyte.
 */
export class RecycledMemory {
  readonly #blocks = new Map<ArrayBufferLike, Block>();
  readonly #spare: Block[] = [];
  #filling: Block | undefined;

  allocate(length: number): Buffer {
    if (length > LARGEST_PIECE_BYTES) return Buffer.allocUnsafeSlow(length);
    if (this.#filling === undefined || this.#filling.end + length > BLOCK_BYTES) this.#filling = this.#nextBlock();
    const block = this.#filling;
    const start = block.end;
    block.end += length;
    block.pieces++;
    return block.bytes.subarray(start, block.end);
  }

  /** Whether a piece lies in a block, and so must not be kept beyond `release`. */
  owns(piece: Buffer): boolean {
    return this.#blocks.has(piece.buffer);
  }

  /** Once for each piece. What lies in no block is nothing to it. */
  release(piece: Buffer): void {
    const block = this.#blocks.get(piece.buffer);
    if (block === undefined || --block.pieces > 0 || block === this.#filling) return;
    if (this.#spare.length < MOST_SPARE_BLOCKS) this.#spare.push(block);
    else this.#blocks.delete(block.bytes.buffer);
  }

  #nextBlock(): Block {
    const before = this.#filling;
    // It may have been let go of while it was being filled.
    if (before?.pieces === 0) {
      before.end = 0;
      return before;
    }
    const spare = this.#spare.pop();
    if (spare !== undefined) {
      spare.end = 0;
      return spare;
    }
    const bytes = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    const block = { bytes, end: 0, pieces: 0 };
    this.#blocks.set(bytes.buffer, block);
    return block;
  }
}
