/** The content of a file that the receiving side has already, from which unchanged parts are taken. */
export interface Basis {
  readonly sizeBytes: number;
  /** Bytes from `offset`; shorter than `length` only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

const WINDOW_BYTES = 1024 * 1024;

/** Reads a basis ahead, because what is asked for mostly lies side by side. */
export class BasisReader {
  readonly #basis: Basis;
  #window = new Uint8Array(0);
  #windowStart = 0;

  constructor(basis: Basis) {
    this.#basis = basis;
  }

  /** Exactly that range, valid until the next call. Throws where the basis is shorter than it said. */
  async range(offset: number, length: number): Promise<Uint8Array> {
    if (offset < this.#windowStart || offset + length > this.#windowStart + this.#window.length) {
      const wanted = Math.min(Math.max(length, WINDOW_BYTES), this.#basis.sizeBytes - offset);
      this.#window = Uint8Array.from(await this.#basis.read(offset, wanted));
      this.#windowStart = offset;
      if (this.#window.length < length) throw new RangeError("the previous version is shorter than it should be");
    }
    return this.#window.subarray(offset - this.#windowStart, offset - this.#windowStart + length);
  }
}
