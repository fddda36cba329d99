import { createHash } from "node:crypto";
import { createMD4, createXXHash128, createXXHash3, createXXHash64 } from "hash-wasm";
import type { IHasher } from "hash-wasm";
import type { ChecksumName } from "./handshake.ts";

/**
 * The strong sums of a session: of blocks, seeded, to find what both sides have; and of whole files, to prove a transfer
 * right. What is hashed in which order is in rsync's `checksum.c` (get_checksum2, sum_init).
 */
export interface StrongSums {
  readonly name: ChecksumName;
  readonly lengthBytes: number;
  /** Sum of one block. The result is valid until the next call. */
  readonly block: (bytes: Uint8Array) => Uint8Array;
  /** Starts the sum of a file as sent. There can be only one at a time. */
  readonly startFile: () => RunningSum;
  /** The same for a sum without any seed, as `--checksum` puts into the file list. */
  readonly startPlainFile: () => RunningSum;
}

export interface RunningSum {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

export async function openStrongSums(name: ChecksumName, seed: number): Promise<StrongSums> {
  const seedBytes = Buffer.alloc(4);
  seedBytes.writeInt32LE(seed);
  // The seed is a signed number that rsync widens to 64 bits for xxHash.
  const upperSeed = (seed >> 31) >>> 0;
  switch (name) {
    case "xxh128":
      return xxHashSums(name, 16, await createXXHash128(seed >>> 0, upperSeed), await createXXHash128());
    case "xxh3":
      return xxHashSums(name, 8, await createXXHash3(seed >>> 0, upperSeed), await createXXHash3());
    case "xxh64":
      return xxHashSums(name, 8, await createXXHash64(seed >>> 0, upperSeed), await createXXHash64());
    case "md5":
    case "sha1":
      return cryptoSums(name, name, name === "md5" ? 16 : 20, seed === 0 ? undefined : seedBytes, "first");
    case "md5-old":
      return cryptoSums(name, "md5", 16, seed === 0 ? undefined : seedBytes, "last");
    case "md4-seeded":
      return seededMd4Sums(seedBytes, seed !== 0, await createMD4(), await createMD4());
  }
}

/** The sum that stands for a long extended attribute's value: always MD5, and never seeded. */
export function attributeSum(value: Uint8Array): Buffer {
  return createHash("md5").update(value).digest();
}

export const ATTRIBUTE_SUM_BYTES = 16;

function xxHashSums(name: ChecksumName, lengthBytes: number, seeded: IHasher, plain: IHasher): StrongSums {
  const running: RunningSum = { update: (bytes) => void plain.update(bytes), digest: () => littleEndian(plain) };
  const startFile = (): RunningSum => {
    plain.init();
    return running;
  };
  return {
    name,
    lengthBytes,
    block: (bytes) => {
      seeded.init();
      seeded.update(bytes);
      return littleEndian(seeded);
    },
    startFile,
    startPlainFile: startFile,
  };
}

/** xxHash is written with its most significant byte first; rsync sends the lowest first. */
function littleEndian(hasher: IHasher): Uint8Array {
  return hasher.digest("binary").reverse();
}

function cryptoSums(
  name: ChecksumName,
  algorithm: string,
  lengthBytes: number,
  seed: Buffer | undefined,
  seedPlace: "first" | "last",
): StrongSums {
  const startFile = (): RunningSum => {
    const hash = createHash(algorithm);
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
  };
  return {
    name,
    lengthBytes,
    block: (bytes) => {
      const hash = createHash(algorithm);
      if (seed !== undefined && seedPlace === "first") hash.update(seed);
      hash.update(bytes);
      if (seed !== undefined && seedPlace === "last") hash.update(seed);
      return hash.digest();
    },
    startFile,
    startPlainFile: startFile,
  };
}

/** Protocol 29: the seed comes after a block, and before a file. */
function seededMd4Sums(seed: Buffer, seedsBlocks: boolean, blocks: IHasher, files: IHasher): StrongSums {
  const start = (first: Buffer | undefined): RunningSum => {
    files.init();
    if (first !== undefined) files.update(first);
    return { update: (bytes) => void files.update(bytes), digest: () => files.digest("binary") };
  };
  return {
    name: "md4-seeded",
    lengthBytes: 16,
    block: (bytes) => {
      blocks.init();
      blocks.update(bytes);
      if (seedsBlocks) blocks.update(seed);
      return blocks.digest("binary");
    },
    startFile: () => start(seed),
    startPlainFile: () => start(undefined),
  };
}

/**
 * rsync's weak sum of a block: the sum of its bytes, as signed ones, in the low half, and the sum of those sums in the
 * high half; both modulo 2^16 (rsync's technical report, "Rolling checksum").
 */
export function weakSum(bytes: Uint8Array, start: number, length: number): number {
  let low = 0;
  let high = 0;
  const end = start + length;
  for (let i = start; i < end; i++) {
    low = (low + ((bytes[i] << 24) >> 24)) | 0;
    high = (high + low) | 0;
  }
  return (low & 0xffff) | (high << 16);
}
