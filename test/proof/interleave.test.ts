import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { emptyTally, interleave } from "./interleave.ts";

/** `npm run proof:interleave` plays as many as there is time for. */
const HISTORIES = 20;

describe("backups, forgets, prunes and readers whose calls interleave", () => {
  for (const crashes of [false, true]) {
    it(`lose no acknowledged snapshot${crashes ? ", though some die on the way" : ""}`, async () => {
      const tally = emptyTally();
      for (let seed = 0; seed < HISTORIES; seed++) await interleave(seed, { crashes, liveNotesVanish: "none" }, tally);
      // Otherwise nothing was in danger.
      assert.ok(tally.snapshots > HISTORIES && tally.deletedPacks > HISTORIES, JSON.stringify(tally));
    });
  }
});
