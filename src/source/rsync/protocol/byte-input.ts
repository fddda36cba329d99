import { Cursor, MoreBytesNeeded } from "./cursor.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/** No single thing that is decoded at once (a file's entry with its attributes) may be larger than this. */
const LARGEST_UNIT_BYTES = 8 * 1024 * 1024;

/** Above this much unread, whoever fills the input should stop; below the lower mark it may go on. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;

/**
 * Bytes that have arrived and are to be decoded. Decoders are plain synchronous functions over a `Cursor`; where too
 * little has arrived, what they read is taken back, and they are called again when there is more.
 */
export class ByteInput {
  readonly #cursor = new Cursor();
  readonly #chunks: Buffer[] = [];
  #queuedBytes = 0;
  #ending: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #full = false;
  /** Called when the reader has caught up, after `isFull` was true. */
  onRoom: (() => void) | undefined;
  /** Bytes that have been decoded or taken so far. */
  totalBytes = 0;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes > HIGH_WATER_BYTES) this.#full = true;
    this.#wakeReader();
  }

  /** No more will come: decoding what is still here works, and what goes beyond fails with `error`. */
  end(error: unknown): void {
    this.#ending ??= { error };
    this.#wakeReader();
  }

  get isFull(): boolean {
    return this.#full;
  }

  /** Whether there is anything that has not been decoded yet. */
  get hasArrived(): boolean {
    return this.#cursor.remaining > 0 || this.#chunks.length > 0;
  }

  /** The result of `decode`, or undefined if too little has arrived; then nothing has been consumed. */
  tryDecode<T>(decode: (cursor: Cursor) => T): T | undefined {
    const cursor = this.#cursor;
    for (;;) {
      const start = cursor.at;
      try {
        const result = decode(cursor);
        this.totalBytes += cursor.at - start;
        return result;
      } catch (error) {
        cursor.at = start;
        if (!(error instanceof MoreBytesNeeded)) throw error;
        if (!this.#append()) return undefined;
      }
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

  /**
   * Up to `maximum` bytes as they lie, without copying, or undefined if nothing has arrived. They are the taker's, who
   * may even hand their memory to another thread if no other bytes lie in it.
   */
  tryTake(maximum: number): Buffer | undefined {
    const cursor = this.#cursor;
    if (cursor.remaining === 0 && !this.#append()) return undefined;
    const taken = cursor.bytes.subarray(cursor.at, Math.min(cursor.at + maximum, cursor.bytes.length));
    cursor.at += taken.length;
    this.totalBytes += taken.length;
    if (cursor.remaining === 0) cursor.clear();
    return taken;
  }

  /** Everything that has arrived and was not decoded, for who takes over the stream. */
  takeAll(): Buffer[] {
    const cursor = this.#cursor;
    const all = [cursor.bytes.subarray(cursor.at), ...this.#chunks];
    cursor.clear();
    this.#chunks.length = 0;
    this.#queuedBytes = 0;
    this.#noteRoom();
    return all.filter((chunk) => chunk.length > 0);
  }

  /** Resolves when more bytes have arrived than the last decoder saw; rejects when none will. */
  more(): Promise<void> {
    if (this.#chunks.length > 0) return Promise.resolve();
    if (this.#ending !== undefined) return Promise.reject(this.#ending.error);
    return new Promise((resolve, reject) => {
      this.#wake = () => {
        if (this.#chunks.length === 0 && this.#ending !== undefined) reject(this.#ending.error);
        else resolve();
      };
    });
  }

  #wakeReader(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #append(): boolean {
    const next = this.#chunks.shift();
    if (next === undefined) return false;
    this.#queuedBytes -= next.length;
    const cursor = this.#cursor;
    if (cursor.remaining > LARGEST_UNIT_BYTES) throw new RsyncProtocolError("rsync protocol: one entry is too large");
    cursor.bytes = cursor.remaining === 0 ? next : Buffer.concat([cursor.bytes.subarray(cursor.at), next]);
    cursor.at = 0;
    this.#noteRoom();
    return true;
  }

  #noteRoom(): void {
    if (!this.#full || this.#queuedBytes >= LOW_WATER_BYTES) return;
    this.#full = false;
    this.onRoom?.();
  }
}
