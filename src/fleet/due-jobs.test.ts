import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_UPKEEP, dueJob, type AccountUpkeep } from "./due-jobs.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = 1e12;
const well: AccountUpkeep = {
  account: "a",
  spaceIsLow: false,
  canRead: true,
  runningBackups: 0,
  lastRetentionMs: NOW_MS,
  lastCheck: { startedMs: NOW_MS, part: 3 },
  hosts: [{ host: "web", lastDrillMs: NOW_MS }],
};
const due = (more: Partial<AccountUpkeep>) => dueJob({ ...well, ...more }, DEFAULT_UPKEEP, NOW_MS);

test("nothing is due where all was done just now", () => assert.equal(due({}), undefined));

test("parts of a check follow each other and begin again", () => {
  const part = (last: number) => due({ lastCheck: { startedMs: NOW_MS - DAY_MS, part: last } });
  assert.deepEqual(part(3), { kind: "check", account: "a", part: 4, of: 28 });
  assert.deepEqual(part(28), { kind: "check", account: "a", part: 1, of: 28 });
  assert.deepEqual(due({ lastCheck: undefined }), { kind: "check", account: "a", part: 1, of: 28 });
});

test("every part is read once in the period, day after day", () => {
  const parts: number[] = [];
  let lastCheck: AccountUpkeep["lastCheck"];
  for (let nowMs = NOW_MS; nowMs < NOW_MS + 28 * DAY_MS; nowMs += HOUR_MS) {
    const job = dueJob({ ...well, lastRetentionMs: nowMs, lastCheck }, DEFAULT_UPKEEP, nowMs);
    if (job?.kind !== "check") continue;
    parts.push(job.part);
    lastCheck = { startedMs: nowMs, part: job.part };
  }
  assert.deepEqual(
    parts,
    Array.from({ length: 28 }, (_, index) => index + 1),
  );
});

test("the host whose drill is the longest ago is drilled, one that never was before all", () => {
  const old = { host: "old", lastDrillMs: NOW_MS - 8 * DAY_MS };
  assert.deepEqual(due({ hosts: [...well.hosts, old] }), { kind: "drill", account: "a", host: "old" });
  const never = { host: "never", lastDrillMs: undefined };
  assert.deepEqual(due({ hosts: [old, never] }), { kind: "drill", account: "a", host: "never" });
  assert.equal(due({ hosts: [old], canRead: false }), undefined);
});

test("backups are not disturbed, until a job is due twice over; but space is made at once", () => {
  const later = { lastRetentionMs: NOW_MS - 30 * HOUR_MS };
  assert.equal(due(later)?.kind, "retention");
  assert.equal(due({ ...later, runningBackups: 2 }), undefined);
  assert.equal(due({ lastRetentionMs: NOW_MS - 48 * HOUR_MS, runningBackups: 2 })?.kind, "retention");
  const low = { spaceIsLow: true, runningBackups: 9 };
  assert.equal(due({ ...low, lastRetentionMs: NOW_MS - HOUR_MS / 4 })?.kind, "retention");
  // It was tried a moment ago: trying all the time would not help.
  assert.equal(due({ ...low, lastRetentionMs: NOW_MS - 60_000 }), undefined);
});
