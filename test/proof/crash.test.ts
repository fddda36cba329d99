import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRandom } from "../../src/storage/testing/random.ts";
import { failingCall, historyLength, powerCut } from "./crash.ts";
import type { ShortCut } from "./crash.ts";

const SEED = 7;
const POINTS = 12;

describe("a repository on a disc that fails", () => {
  it("holds every acknowledged snapshot after a power cut at any operation, and works on", async () => {
    for (const at of await somePoints()) await powerCut(SEED, at, 3);
  });

  for (const errno of ["EIO", "ENOSPC"] as const) {
    it(`holds every acknowledged snapshot after ${errno} at any operation, and works on`, async () => {
      for (const at of await somePoints()) await failingCall(SEED, at, errno);
    });
  }

  it("would be found to lose snapshots if files were not synced", async () => {
    const shortCut: ShortCut = (disk) => ({
      ...disk,
      create: async (path) => ({ ...(await disk.create(path)), sync: async () => undefined }),
    });
    await assert.rejects(async () => {
      for (const at of await somePoints()) await powerCut(SEED, at, 3, shortCut);
    });
  });
});

/** Spread over the whole history; `npm run proof:crash` goes on where this ends. */
async function somePoints(): Promise<number[]> {
  const length = await historyLength(SEED);
  const random = seededRandom(SEED);
  return Array.from({ length: POINTS }, (_, part) => Math.floor(((part + random.fraction()) * length) / POINTS));
}
