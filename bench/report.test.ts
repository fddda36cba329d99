import assert from "node:assert/strict";
import { test } from "node:test";
import { median } from "./measure.ts";
import { markdownReport } from "./report.ts";
import type { Sample } from "./scenarios.ts";

const SAMPLE: Sample = {
  data: "kernel",
  phase: "again",
  cache: "warm",
  contender: "holdfast",
  wallSeconds: 1,
  cpuSeconds: 1,
  peakMemoryBytes: 100 * 1024 * 1024,
  repositoryBytes: undefined,
};

test("the median is the middle value, or the mean of the two in the middle", () => {
  assert.equal(median([9, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 100]), 3);
});

test("a ratio of medians at the bar passes, and one above it is a miss", () => {
  const samples = [
    ...[0.9, 1, 7].map((wallSeconds) => ({ ...SAMPLE, wallSeconds })),
    ...[1, 4, 90].map((wallSeconds) => ({ ...SAMPLE, contender: "restic", wallSeconds })),
    { ...SAMPLE, contender: "borg", wallSeconds: 3.9 },
  ];
  const report = markdownReport(samples, "here");
  assert.match(report, /kernel: unchanged again, time \| ≤ 0\.25 × restic \| 0\.25 × \(1\.00 s : 4\.00 s\) \| ✓/);
  assert.match(
    report,
    /kernel: unchanged again, time \| ≤ 0\.25 × borg \| 0\.26 × \(1\.00 s : 3\.90 s\) \| \*\*miss\*\*/,
  );
  assert.doesNotMatch(report, /link-dest/, "what was not measured has no line");
});

test("memory is held against a limit of its own", () => {
  const samples = [{ ...SAMPLE, phase: "first" as const, peakMemoryBytes: 251 * 1024 * 1024 }];
  assert.match(markdownReport(samples, "here"), /first backup, peak memory \| ≤ 250 MiB \| 251 MiB \| \*\*miss\*\*/);
});
