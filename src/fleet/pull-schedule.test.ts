import assert from "node:assert/strict";
import { test } from "node:test";
import { nextPullMs, type PullHistory } from "./pull-schedule.ts";
import { nextPlaceMs, parseSchedule } from "./schedule.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const schedule = parseSchedule("every 4h");
const base: PullHistory = {
  host: "web1",
  schedule,
  createdMs: 1000 * HOUR_MS,
  lastSnapshotMs: undefined,
  failures: 0,
  lastEndMs: undefined,
};

test("a new host is pulled from as soon as its key can be installed, and then as the schedule says", () => {
  assert.equal(nextPullMs(base), base.createdMs + 10 * MINUTE_MS);
  const lastSnapshotMs = 2000 * HOUR_MS;
  const saved = { ...base, lastSnapshotMs, lastEndMs: lastSnapshotMs + MINUTE_MS };
  assert.equal(nextPullMs(saved), nextPlaceMs(schedule, "web1", lastSnapshotMs));
  assert.notEqual(nextPullMs(saved), nextPullMs({ ...saved, host: "web2" }));
});

test("a failed pull is tried again after 10, 20, 40 minutes and so on, but at least as often as the schedule says", () => {
  const lastSnapshotMs = 2000 * HOUR_MS;
  const lastEndMs = lastSnapshotMs + 5 * HOUR_MS;
  const after = (failures: number): number =>
    (nextPullMs({ ...base, lastSnapshotMs, failures, lastEndMs }) - lastEndMs) / MINUTE_MS;
  assert.deepEqual([1, 2, 3, 4, 5, 6, 100].map(after), [10, 20, 40, 80, 160, 240, 240]);
});

test("a failure by hand before a pull is due does not bring it forward", () => {
  const lastSnapshotMs = 2000 * HOUR_MS;
  const due = nextPlaceMs(schedule, "web1", lastSnapshotMs);
  const lastEndMs = due - 30 * MINUTE_MS;
  assert.equal(nextPullMs({ ...base, lastSnapshotMs, failures: 1, lastEndMs }), due);
});

test("on a schedule of cron, a failed pull waits no longer than for the next time that it names", () => {
  const nightly = parseSchedule("0 3 * * *");
  const lastEndMs = new Date(2026, 10, 20, 2, 55).getTime();
  const history = { ...base, schedule: nightly, createdMs: lastEndMs - 72 * HOUR_MS, failures: 9, lastEndMs };
  assert.equal(nextPullMs(history), new Date(2026, 10, 20, 3, 0).getTime());
});
