/**
 * How long a repository of many blobs takes to open, and how much memory its index takes in it:
 * `node bench/open-index.ts BLOBS`. Prints seconds and bytes a blob. The index is made up; no pack stands behind it.
 */
import { randomFillSync } from "node:crypto";
import { sha256Hex } from "../src/crypto/keyed-hash.ts";
import { encodeIndex, sealBlobSection } from "../src/format/index-object.ts";
import { PREFIXES } from "../src/format/names.ts";
import { loadIndex } from "../src/repository/index-loader.ts";
import { createRepository } from "../src/repository/repository.ts";
import type { Repository } from "../src/repository/repository.ts";
import { memoryStorage } from "../src/storage/memory.ts";
import { PASSWORD } from "./contenders.ts";

const BLOBS_PER_FRAME = 100;
const FRAMES_PER_PACK = 16;
const FRAME_BYTES = 300_000;
const BLOBS_PER_INDEX = 250_000;

const blobs = Number(process.argv[2]);
const storage = memoryStorage();
const repository = await createRepository(storage, {
  passphrase: PASSWORD,
  label: "",
  workFactorLog2: 1,
  now: new Date(),
});
for (let made = 0; made < blobs; made += BLOBS_PER_INDEX)
  await makeIndex(repository, Math.min(BLOBS_PER_INDEX, blobs - made));
globalThis.gc?.();
const started = performance.now();
const loaded = await loadIndex(repository, { forWriting: false });
const seconds = (performance.now() - started) / 1000;
const tableBytes = loaded.blobs.words.byteLength;
process.stdout.write(`${JSON.stringify({ blobs, seconds, bytesPerBlob: tableBytes / blobs })}\n`);

async function makeIndex({ ring }: Repository, count: number): Promise<void> {
  const frameCount = Math.ceil(count / BLOBS_PER_FRAME);
  const origins = randomFillSync(Buffer.alloc(32));
  const ids = randomFillSync(Buffer.alloc(count * 16));
  const frames = Uint32Array.from({ length: count }, (_, blob) => Math.floor(blob / BLOBS_PER_FRAME));
  const places = Uint16Array.from({ length: count }, (_, blob) => blob % BLOBS_PER_FRAME);
  const lengths = new Uint32Array(count).fill(3000);
  const numbers = Uint32Array.from({ length: frameCount }, (_, frame) => frame);
  const frameNames = { origins, originIndexes: new Uint32Array(frameCount), numbers };
  const packs = Array.from({ length: Math.ceil(frameCount / FRAMES_PER_PACK) }, (_, pack) => {
    const first = pack * FRAMES_PER_PACK;
    const inPack = Math.min(FRAMES_PER_PACK, frameCount - first);
    return {
      name: randomFillSync(Buffer.alloc(32)),
      sizeBytes: 24 + inPack * FRAME_BYTES + 5000,
      frames: Array.from({ length: inPack }, (_unused, frame) => ({
        kind: "data" as const,
        origin: origins,
        number: first + frame,
        offset: 24 + frame * FRAME_BYTES,
        length: FRAME_BYTES,
        checksum: Buffer.alloc(16),
        forwards: [],
      })),
    };
  });
  const section = sealBlobSection(ring.indexKey, ring.repositoryId, {
    count,
    frameNames,
    ids,
    frames,
    places,
    lengths,
  });
  const parts = encodeIndex({ repositoryId: ring.repositoryId, packs, sections: [section] });
  await storage.put(PREFIXES.index + sha256Hex(...parts), parts);
}
