import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { UsageError } from "../../errors.ts";
import { formatBytes, parseBytes } from "./format-bytes.ts";

for (const [bytes, text] of [
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.000 KiB"],
  [1024 ** 3 - 1, "1.000 GiB"],
  [1_325_400_064, "1.234 GiB"],
  [5 * 1024 ** 4, "5.000 TiB"],
  [3 * 1024 ** 6, "3072.000 PiB"],
] as const) {
  test(`shows ${bytes} bytes as ${text}`, () => assert.equal(formatBytes(bytes), text));
}

for (const [text, bytes] of [
  ["0", 0],
  ["1024", 1024],
  ["100b", 100],
  ["1k", 1024],
  ["10MiB", 10 * 1024 ** 2],
  ["5G", 5 * 1024 ** 3],
  ["5 gib", 5 * 1024 ** 3],
  ["1.5T", 1.5 * 1024 ** 4],
  ["0.5k", 512],
] as const) {
  test(`reads ${text} as ${bytes} bytes`, () => assert.equal(parseBytes(text), bytes));
}

for (const text of ["", "G", "-1", "1e9", "5GB", "5X", "1,5G", "1.G", "5G5", "0x10", "9999999T", "∞"]) {
  test(`refuses "${text}" as a size`, () => assert.throws(() => parseBytes(text), UsageError));
}

test("what is shown is at most half a thousandth of a unit from the truth", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      const [amount, unit] = formatBytes(bytes).split(" ");
      const unitBytes = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].indexOf(unit);
      assert.ok(Math.abs(Number(amount) * unitBytes - bytes) <= unitBytes * 0.000501);
    }),
  );
});
