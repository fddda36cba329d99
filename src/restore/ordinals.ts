/** A set of file numbers, a bit each: which files of a walk something was done with. */
export interface OrdinalSet {
  add(ordinal: number): void;
  has(this: void, ordinal: number): boolean;
}

export function createOrdinalSet(): OrdinalSet {
  let bits = new Uint8Array(1024);
  return {
    add(ordinal) {
      const at = ordinal >>> 3;
      if (at >= bits.length) {
        const larger = new Uint8Array(Math.max(at + 1, bits.length * 2));
        larger.set(bits);
        bits = larger;
      }
      bits[at] |= 1 << (ordinal & 7);
    },
    has: (ordinal) => ((bits[ordinal >>> 3] ?? 0) & (1 << (ordinal & 7))) !== 0,
  };
}
