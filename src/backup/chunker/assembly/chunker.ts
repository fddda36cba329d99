// Content-defined chunking: FastCDC (Xia et al., USENIX ATC 2016) with normalised chunk sizes, as WebAssembly.
// Compiled by `npm run build:chunker`; see ../chunker.ts for the way in.

/** 256 random 64-bit numbers, written by the caller. */
const GEAR: usize = 0;

/** Bits that must be zero at a cut: more of them before the usual size is reached, fewer after it. */
let strictMask: u64 = 0;
let looseMask: u64 = 0;
let minimum: u32 = 0;
let normal: u32 = 0;
let maximum: u32 = 0;

export function configure(min: u32, usual: u32, max: u32, strict: u64, loose: u64): void {
  minimum = min;
  normal = usual;
  maximum = max;
  strictMask = strict;
  looseMask = loose;
}

/** Length of the chunk that starts at `start`, of `length` bytes that are there. */
export function cut(start: usize, length: u32): u32 {
  if (length <= minimum) return length;
  if (length > maximum) length = maximum;
  const usual: u32 = normal < length ? normal : length;
  let at: usize = start + minimum;
  let end: usize = start + usual;
  let hash: u64 = 0;
  while (at < end) {
    hash = (hash << 1) + load<u64>(GEAR + ((<usize>load<u8>(at)) << 3));
    if ((hash & strictMask) == 0) return <u32>(at + 1 - start);
    at++;
  }
  end = start + length;
  while (at < end) {
    hash = (hash << 1) + load<u64>(GEAR + ((<usize>load<u8>(at)) << 3));
    if ((hash & looseMask) == 0) return <u32>(at + 1 - start);
    at++;
  }
  return length;
}
