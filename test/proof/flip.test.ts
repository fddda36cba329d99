import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import type { MemoryStorage } from "../../src/storage/memory.ts";
import { assertNeverWrong, cuts, flips, smallRepository, swaps } from "./flip.ts";
import type { Tally } from "./flip.ts";

/** Small steps belong to `npm run proof:flip`; this prime meets every kind of field in some object. */
const STEP = 7;

describe("a damaged repository gives what was saved or a named error", () => {
  let storage: MemoryStorage;
  before(async () => {
    storage = await smallRepository();
  });

  it("when a byte is changed", async () => {
    const tally = await assertNeverWrong(storage, flips(storage, STEP, [0x01]));
    assertMostlyRefused(tally);
  });

  it("when an object is cut, grows or is gone", async () => {
    assertMostlyRefused(await assertNeverWrong(storage, cuts(storage, STEP)));
  });

  it("when two objects stand in each other's place", async () => {
    assertMostlyRefused(await assertNeverWrong(storage, swaps(storage)));
  });
});

/** Otherwise nothing was read of what was damaged, and this proves nothing. */
function assertMostlyRefused({ unharmed, refused }: Tally): void {
  const refusals = [...refused.values()].reduce((sum, count) => sum + count, 0);
  assert.ok(refusals > unharmed * 2, `${refusals} refused, ${unharmed} without harm`);
}
