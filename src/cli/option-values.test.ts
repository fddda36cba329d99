import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../errors.ts";
import { groupBy, keepCount, keepDuration, moment, oneOf, wholeNumber } from "./option-values.ts";

test("reads a moment on the local clock, or with its zone", () => {
  assert.equal(moment("2026-11-20T03:04:05Z"), Date.UTC(2026, 10, 20, 3, 4, 5));
  assert.equal(moment("2026-11-20T03:04:05+02:00"), Date.UTC(2026, 10, 20, 1, 4, 5));
  assert.equal(moment("2026-11-20 03:04:05"), new Date(2026, 10, 20, 3, 4, 5).getTime());
  assert.equal(moment("2026-11-20"), new Date(2026, 10, 20).getTime());
});

for (const [parse, texts] of [
  [moment, ["", "yesterday", "2026-13-01", "2026-02-30", "2026-11-20 24:00:00", "2026-11-20 3:04", "20-11-2026"]],
  [keepCount, ["", "-1", "1.5", "all"]],
  [keepDuration, ["", "7", "1w", "1d1d"]],
  [groupBy, ["colour"]],
  [wholeNumber, ["", "-1", "1.5", "ten"]],
  [oneOf(["a", "b"]), ["", "c", "A"]],
] as const) {
  for (const text of texts) {
    test(`refuses "${text}" as a ${parse.name || "word of a list"}`, () =>
      assert.throws(() => parse(text), UsageError));
  }
}
