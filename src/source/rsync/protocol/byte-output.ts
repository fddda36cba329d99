/** Writes the numbers and strings of the rsync protocol, little-endian, into a buffer that grows. */
export class ByteOutput {
  #bytes: Buffer;
  #length = 0;
  readonly #digits = new Uint8Array(8);

  constructor(initialBytes = 16 * 1024) {
    this.#bytes = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written since the last call, as bytes of their own. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }

  #room(length: number): number {
    const start = this.#length;
    const end = start + length;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
    }
    this.#length = end;
    return start;
  }

  byte(value: number): void {
    const start = this.#room(1);
    this.#bytes[start] = value;
  }

  shortInt(value: number): void {
    const start = this.#room(2);
    this.#bytes.writeUInt16LE(value & 0xffff, start);
  }

  int32(value: number): void {
    const start = this.#room(4);
    this.#bytes.writeInt32LE(value | 0, start);
  }

  raw(bytes: Uint8Array): void {
    const start = this.#room(bytes.length);
    this.#bytes.set(bytes, start);
  }

  /** Signed 32 bits in 1 to 5 bytes (rsync's `io.c`, write_varint). */
  varint(value: number): void {
    if (value >= 0 && value < 0x80) return this.byte(value);
    this.#variable(value >>> 0, 0, 1, 4);
  }

  /** Signed 64 bits in `minimumBytes` or more. */
  varlong(value: number, minimumBytes: number): void {
    const upper = Math.floor(value / 2 ** 32);
    this.#variable(value - upper * 2 ** 32, upper >>> 0, minimumBytes, 8);
  }

  #variable(lower: number, upper: number, minimumBytes: number, widestBytes: number): void {
    const digits = this.#digits;
    for (let i = 0; i < 4; i++) {
      digits[i] = lower >>> (8 * i);
      digits[i + 4] = upper >>> (8 * i);
    }
    let count = widestBytes;
    while (count > minimumBytes && digits[count - 1] === 0) count--;
    // The first byte tells by its leading ones how many bytes follow, and holds the highest digit where that fits.
    const room = 1 << (7 - count + minimumBytes);
    const highest = digits[count - 1];
    const start = this.#room(highest >= room ? count + 1 : count);
    if (highest >= room) this.#bytes[start] = ~(room - 1);
    else this.#bytes[start] = count > minimumBytes ? highest | ~(room * 2 - 1) : highest;
    const stored = highest >= room ? count : count - 1;
    for (let i = 0; i < stored; i++) this.#bytes[start + 1 + i] = digits[i];
  }

  /** How sizes travelled before protocol 30: 32 bits, or 0xffffffff and then 64. */
  longInt(value: number): void {
    if (value >= 0 && value <= 0x7fffffff) return this.int32(value);
    this.int32(-1);
    this.int32(value % 2 ** 32);
    this.int32(Math.floor(value / 2 ** 32));
  }

  /** Length in one or two bytes, then the bytes: at most 32,767. */
  vstring(bytes: Uint8Array): void {
    if (bytes.length > 0x7f) this.byte(0x80 | (bytes.length >> 8));
    this.byte(bytes.length & 0xff);
    this.raw(bytes);
  }
}
