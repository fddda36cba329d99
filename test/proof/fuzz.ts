/**
 * Gives decoders bytes that no encoder made. Whatever comes in, a decoder returns or throws a `HoldfastError`, soon, and
 * without taking more memory than the bytes are worth.
 *
 *     npm run fuzz -- [--seconds 60] [--seed 1] [--target NAME]
 */
import { parseArgs } from "node:util";
import { getHeapStatistics } from "node:v8";
import { HoldfastError } from "../../src/errors.ts";
import { seededRandom } from "../../src/storage/testing/random.ts";
import type { SeededRandom } from "../../src/storage/testing/random.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { FUZZ_TARGETS } from "./fuzz-targets.ts";

export interface FuzzTarget {
  readonly name: string;
  /** Valid inputs, of every shape: mutation starts from these. */
  readonly seeds: readonly Uint8Array[];
  /** May give a promise. */
  readonly decode: (bytes: Uint8Array) => unknown;
  /** What one input may cost at most, besides 256 bytes for each of its own. */
  readonly memoryLimitBytes?: number;
}

const MEBIBYTE = 1024 * 1024;
const DEFAULT_MEMORY_LIMIT_BYTES = 2 * MEBIBYTE;
const MEMORY_PER_INPUT_BYTE = 256;
const TIME_LIMIT_MS = 2000;

/** Runs one decoder on mutated inputs until `done` says so. Throws with the input that broke the promise. */
export async function fuzz(target: FuzzTarget, seed: number, done: (iterations: number) => boolean): Promise<number> {
  const random = seededRandom(seed);
  // What the seeds themselves do must be success, or the mutations would never get past the first check.
  for (const bytes of target.seeds) await target.decode(bytes);
  let iterations = 0;
  for (; !done(iterations); iterations++) {
    const input = mutated(target.seeds, random);
    try {
      await tryOne(target, input);
    } catch (cause) {
      const where = `${target.name}, seed ${seed}, iteration ${iterations}`;
      throw new Error(`${where}: ${String(cause)}\ninput: ${input.subarray(0, 4096).toString("hex")}`, { cause });
    }
  }
  return iterations;
}

/** What else happens in the process (code that is compiled, others who have the processor) does not happen each time. */
const TRIES = 4;

async function tryOne(target: FuzzTarget, input: Buffer): Promise<void> {
  let broken: string | undefined;
  for (let tries = 0; tries < TRIES; tries++) {
    broken = await costsTooMuch(target, input);
    if (broken === undefined) return;
  }
  throw new Error(broken);
}

async function costsTooMuch(target: FuzzTarget, input: Buffer): Promise<string | undefined> {
  const memoryBefore = usedMemory();
  const startedMs = performance.now();
  try {
    await target.decode(input);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
  const tookMs = performance.now() - startedMs;
  const took = usedMemory() - memoryBefore;
  const limit = (target.memoryLimitBytes ?? DEFAULT_MEMORY_LIMIT_BYTES) + input.length * MEMORY_PER_INPUT_BYTE;
  if (took > limit) return `it took ${took} bytes of memory for ${input.length} bytes`;
  if (tookMs > TIME_LIMIT_MS) return `it took ${Math.round(tookMs)} ms for ${input.length} bytes`;
  return undefined;
}

/** On the heap and beside it, garbage included: what was allocated stays visible until it is collected. */
function usedMemory(): number {
  const { used_heap_size: heapBytes, external_memory: externalBytes } = getHeapStatistics();
  return heapBytes + externalBytes;
}

const INTERESTING_BYTES = [0x00, 0x01, 0x7f, 0x80, 0xff];
/** Varints and fixed-width numbers at their limits, as bytes. */
const INTERESTING_RUNS = [
  "ffffffff",
  "00000000",
  "ffffff7f",
  "00000080",
  "ffffffffffffff0f",
  "ffffffffffffff7f",
  "808080808080808000",
  "ffffffffffffffffff01",
  "80808008",
].map((hex) => Buffer.from(hex, "hex"));

function mutated(seeds: readonly Uint8Array[], random: SeededRandom): Buffer {
  if (random.below(50) === 0) return scrambledBytes(String(random.fraction()), random.below(200));
  let bytes: Buffer = Buffer.from(random.pick(seeds));
  for (let steps = 1 + random.below(6); steps > 0; steps--) bytes = mutateOnce(bytes, seeds, random);
  return bytes;
}

function mutateOnce(bytes: Buffer, seeds: readonly Uint8Array[], random: SeededRandom): Buffer {
  const at = random.below(bytes.length + 1);
  const length = Math.min(1 + random.below(16), bytes.length - at);
  switch (random.below(8)) {
    case 0:
      if (at < bytes.length) bytes[at] ^= 1 << random.below(8);
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = random.pick(INTERESTING_BYTES);
      return bytes;
    case 2:
      random.pick(INTERESTING_RUNS).copy(bytes, at);
      return bytes;
    case 3:
      return Buffer.concat([bytes.subarray(0, at), random.pick(INTERESTING_RUNS), bytes.subarray(at)]);
    case 4:
      return bytes.subarray(0, at);
    case 5:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 6:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    default: {
      const other = random.pick(seeds);
      const from = random.below(other.length + 1);
      return Buffer.concat([bytes.subarray(0, at), other.subarray(from)]);
    }
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      target: { type: "string" },
    },
  });
  const targets = FUZZ_TARGETS.filter(({ name }) => values.target === undefined || name === values.target);
  const secondsEach = Number(values.seconds) / targets.length;
  for (const target of targets) {
    const endMs = performance.now() + secondsEach * 1000;
    const iterations = await fuzz(target, Number(values.seed), () => performance.now() > endMs);
    process.stdout.write(`${target.name}: ${iterations} inputs, seed ${values.seed}\n`);
  }
}
