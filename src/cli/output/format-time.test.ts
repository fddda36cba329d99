import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, formatRfc3339 } from "./format-time.ts";

test("shows durations as a clock does", () => {
  assert.deepEqual([-5, 4_600, 60_000, 3_599_400, 3_723_000].map(formatDuration), [
    "0:00",
    "0:05",
    "1:00",
    "59:59",
    "1:02:03",
  ]);
});

test("writes times with their nanoseconds, also before 1970 and where no calendar reaches", () => {
  assert.equal(formatRfc3339(0, 1), "1970-01-01T00:00:00.000000001Z");
  assert.equal(formatRfc3339(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
  assert.equal(formatRfc3339(4_000_000_000, 0), "2096-10-02T07:06:40Z");
  assert.equal(formatRfc3339(1e13, 5), "@10000000000000.000000005");
});
