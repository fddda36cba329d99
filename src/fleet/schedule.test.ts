import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../errors.ts";
import { nextPlaceMs, jitterMs, nextDueMs, parseSchedule, silentFromMs } from "./schedule.ts";

const HOUR_MS = 3_600_000;
const at = (text: string) => new Date(text).getTime();

test("an interval counts from the last run, a line of cron stands on the clock", () => {
  const last = at("2026-11-20T10:20:00");
  assert.equal(nextDueMs(parseSchedule("every 4h"), last), at("2026-11-20T14:20:00"));
  assert.equal(nextDueMs(parseSchedule("daily"), last), last + 24 * HOUR_MS);
  assert.equal(nextDueMs(parseSchedule("30 3 * * *"), last), at("2026-11-21T03:30:00"));
  assert.equal(nextDueMs(parseSchedule("30 3 * * *"), at("2026-11-21T03:30:00")), at("2026-11-22T03:30:00"));
});

for (const text of [
  "",
  "often",
  "every 4",
  "every 1m",
  "every 0h",
  "* * *",
  "61 * * * *",
  "0 0 31 2 *",
  "* * * * * *",
]) {
  test(`refuses "${text}" as a schedule`, () => assert.throws(() => parseSchedule(text), UsageError));
}

test("hosts begin at different moments, each always at its own, and none more than an hour late", () => {
  const daily = parseSchedule("daily");
  const jitters = Array.from({ length: 200 }, (_, number) => jitterMs(daily, `host${number}`, 0));
  assert.equal(jitterMs(daily, "host7", 0), jitters[7]);
  assert.ok(Math.max(...jitters) <= HOUR_MS);
  const byQuarter = Map.groupBy(jitters, (jitter) => Math.floor(jitter / (HOUR_MS / 4)));
  for (const quarter of [0, 1, 2, 3]) assert.ok(byQuarter.get(quarter)!.length > 30);
  assert.ok(jitterMs(parseSchedule("every 30m"), "x", 0) <= (30 * 60_000) / 12);
});

test("what counts in days is due at night, each host at its own time, and a run by hand shifts nothing", () => {
  const daily = parseSchedule("daily");
  const due = nextPlaceMs(daily, "web", at("2026-11-20T07:00:00"));
  assert.ok(due >= at("2026-11-21T00:00:00") && due < at("2026-11-21T06:00:00"), new Date(due).toISOString());
  assert.equal(nextPlaceMs(daily, "web", at("2026-11-20T15:30:00")), due);
  assert.equal(nextPlaceMs(daily, "web", due + 60_000), due + 24 * HOUR_MS);
  assert.notEqual(nextPlaceMs(daily, "db", at("2026-11-20T07:00:00")), due);
  const weekly = nextPlaceMs(parseSchedule("weekly"), "web", at("2026-11-20T07:00:00"));
  assert.equal(new Date(weekly).getDay(), 0);
});

test("what counts in hours has its places in the interval, and none sooner than a quarter of it", () => {
  const schedule = parseSchedule("every 4h");
  for (const host of ["a", "b", "c"]) {
    const first = nextPlaceMs(schedule, host, 0);
    assert.ok(first >= HOUR_MS && first <= 5 * HOUR_MS);
    assert.equal(nextPlaceMs(schedule, host, first), first + 4 * HOUR_MS);
    assert.equal(nextPlaceMs(schedule, host, first - HOUR_MS), first);
    assert.equal(nextPlaceMs(schedule, host, first - HOUR_MS + 10), first + 4 * HOUR_MS);
  }
});

test("every three days is due on one day of three", () => {
  const schedule = parseSchedule("every 3d");
  const first = nextPlaceMs(schedule, "web", at("2026-11-20T07:00:00"));
  assert.equal(nextPlaceMs(schedule, "web", first), first + 72 * HOUR_MS);
});

test("a daily host is silent after a day and a half, an hourly one after two hours", () => {
  assert.equal(silentFromMs(parseSchedule("daily"), 0), 36 * HOUR_MS);
  assert.equal(silentFromMs(parseSchedule("hourly"), 0), 2 * HOUR_MS);
  assert.equal(silentFromMs(parseSchedule("weekly"), 0), 8 * 24 * HOUR_MS);
  const last = at("2026-11-20T03:40:00");
  assert.equal(silentFromMs(parseSchedule("30 3 * * *"), last), at("2026-11-21T15:30:00"));
});
