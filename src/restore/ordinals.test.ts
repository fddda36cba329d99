import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { createOrdinalSet } from "./ordinals.ts";

test("it holds just the numbers that were added", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(100_000)), fc.array(fc.nat(100_000)), (added, asked) => {
      const set = createOrdinalSet();
      for (const ordinal of added) set.add(ordinal);
      for (const ordinal of added) assert.ok(set.has(ordinal));
      for (const ordinal of asked) assert.equal(set.has(ordinal), added.includes(ordinal));
    }),
  );
});
