import { Cursor, MoreBytesNeeded } from "./cursor.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/** No single thing that is decoded at once (a file's entry with its attributes) may be larger than this. */
const LARGEST_UNIT_BYTES = 8 * 1024 * 1024;

/** Above this much unread, whoever fills the input should stop; below the lower mark it may go on. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;

const SMALLEST_STORE_BYTES = 64 * 1024;

/** Pieces of up to this are laid into memory of that size. */
const LARGEST_SHARED_BYTES = 32 * 1024;
const SHARED_BYTES = 256 * 1024;

/**
 * Bytes that have arrived and are to be decoded. Decoders are plain synchronous functions over a `Cursor`; where too
 * little has arrived, what they read is taken back, and they are called again when there is more.
 *
 * They lie in one stretch of memory that is used over and over, so that what comes by the gigabyte leaves no garbage.
 */
export class ByteInput {
  readonly #cursor = new Cursor();
  #ending: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #full = false;
  #arrivedBytes = 0;
  /** `#arrivedBytes` when a decoder last came to the end. */
  #seenBytes = 0;
  /** Memory that small pieces share, and where it is free. */
  #shared = Buffer.alloc(0);
  #sharedAt = 0;
  /** Called when the reader has caught up, after `isFull` was true. */
  onRoom: (() => void) | undefined;

  /** Copies `chunk`. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#makeRoom(chunk.length);
    const cursor = this.#cursor;
    cursor.bytes.set(chunk, cursor.end);
    cursor.end += chunk.length;
    this.#arrivedBytes += chunk.length;
    if (cursor.remaining > HIGH_WATER_BYTES) this.#full = true;
    this.#wakeReader();
  }

  #makeRoom(length: number): void {
    const cursor = this.#cursor;
    if (cursor.end + length <= cursor.bytes.length) return;
    const { bytes, at, end, remaining } = cursor;
    // Moving is worth it only where it makes much room: then each byte is moved about once.
    if ((remaining + length) * 2 <= bytes.length) {
      bytes.copyWithin(0, at, end);
    } else {
      const needed = Math.max(SMALLEST_STORE_BYTES, (remaining + length) * 2);
      cursor.bytes = Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(needed)));
      bytes.copy(cursor.bytes, 0, at, end);
    }
    cursor.at = 0;
    cursor.end = remaining;
  }

  /** No more will come: decoding what is still here works, and what goes beyond fails with `error`. */
  end(error: unknown): void {
    this.#ending ??= { error };
    this.#wakeReader();
  }

  get isFull(): boolean {
    return this.#full;
  }

  /** Whether somebody waits for more to arrive. */
  get isAwaited(): boolean {
    return this.#wake !== undefined;
  }

  /** Whether there is anything that has not been decoded yet. */
  get hasArrived(): boolean {
    return this.#cursor.remaining > 0;
  }

  /** The result of `decode`, or undefined if too little has arrived; then nothing has been consumed. */
  tryDecode<T>(decode: (cursor: Cursor) => T): T | undefined {
    const cursor = this.#cursor;
    const start = cursor.at;
    try {
      const result = decode(cursor);
      if (this.#full) this.#noteRoom();
      return result;
    } catch (error) {
      cursor.at = start;
      if (!(error instanceof MoreBytesNeeded)) throw error;
      this.#needMore();
      return undefined;
    }
  }

  /** Like `tryDecode`, but waits for what is missing. */
  async decode<T>(decode: (cursor: Cursor) => T): Promise<T> {
    for (;;) {
      const result = this.tryDecode(decode);
      if (result !== undefined) return result;
      await this.more();
    }
  }

  /** A copy of up to `maximum` bytes, or undefined if nothing has arrived. A large one has memory of its own. */
  tryTake(maximum: number): Buffer | undefined {
    const cursor = this.#cursor;
    if (cursor.remaining === 0) {
      this.#needMore();
      return undefined;
    }
    const taken = this.#allocate(Math.min(maximum, cursor.remaining));
    cursor.bytes.copy(taken, 0, cursor.at, cursor.at + taken.length);
    cursor.at += taken.length;
    if (this.#full) this.#noteRoom();
    return taken;
  }

  /** As `tryTake`, but a view, which is only valid until more is waited for. */
  tryView(maximum: number): Buffer | undefined {
    const cursor = this.#cursor;
    if (cursor.remaining === 0) {
      this.#needMore();
      return undefined;
    }
    const start = cursor.at;
    cursor.at = Math.min(cursor.end, start + maximum);
    if (this.#full) this.#noteRoom();
    return cursor.bytes.subarray(start, cursor.at);
  }

  /** Memory for a piece. Small ones lie side by side: a buffer for each costs more than what is in it. */
  #allocate(length: number): Buffer {
    if (length > LARGEST_SHARED_BYTES) return Buffer.allocUnsafeSlow(length);
    const start = this.#sharedAt;
    if (start + length <= this.#shared.length) {
      this.#sharedAt += length;
      return this.#shared.subarray(start, this.#sharedAt);
    }
    this.#shared = Buffer.allocUnsafeSlow(SHARED_BYTES);
    this.#sharedAt = length;
    return this.#shared.subarray(0, length);
  }

  /** Everything that has arrived and was not decoded, for who takes over the stream. */
  takeAll(): Buffer {
    return this.tryTake(Infinity) ?? Buffer.alloc(0);
  }

  /** Resolves when more bytes have arrived than the last decoder saw; rejects when none will. */
  more(): Promise<void> {
    if (this.#arrivedBytes > this.#seenBytes) return Promise.resolve();
    if (this.#ending !== undefined) return Promise.reject(this.#ending.error);
    return new Promise((resolve, reject) => {
      this.#wake = () => {
        if (this.#arrivedBytes === this.#seenBytes && this.#ending !== undefined) reject(this.#ending.error);
        else resolve();
      };
    });
  }

  #wakeReader(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** A decoder wants more than is here, however much that is. */
  #needMore(): void {
    if (this.#cursor.remaining > LARGEST_UNIT_BYTES) {
      throw new RsyncProtocolError("rsync protocol: one entry is too large");
    }
    this.#seenBytes = this.#arrivedBytes;
    this.#goOn();
  }

  #noteRoom(): void {
    if (this.#cursor.remaining < LOW_WATER_BYTES) this.#goOn();
  }

  #goOn(): void {
    if (!this.#full) return;
    this.#full = false;
    this.onRoom?.();
  }
}
