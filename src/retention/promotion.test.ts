import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { utcCalendar } from "./calendar.ts";
import { DEFAULT_PROMOTION, promote } from "./promotion.ts";
import type { RetentionSnapshot } from "./snapshot.ts";

const START = Date.parse("2025-01-01T00:30:00Z");
const HOUR_MS = 3_600_000;

function at(hours: number): RetentionSnapshot {
  return { id: `h${hours}`, timeMs: START + hours * HOUR_MS, host: "a", group: "a", paths: ["/"], tags: [] };
}

const schedules = fc
  .array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 150 })
  .map((steps) => steps.map((_, index) => at(steps.slice(0, index + 1).reduce((sum, step) => sum + step, 0))));

test("holds six of the last hours, a week of days, four weeks and twelve months", () => {
  const hourly = Array.from({ length: 24 * 600 }, (_, hours) => at(hours));
  const { keep } = promote(hourly, DEFAULT_PROMOTION, utcCalendar);
  const on = (level: string) => keep.filter((kept) => kept.level === level).map((kept) => kept.snapshot.timeMs);
  assert.deepEqual(
    ["hourly", "daily", "weekly", "monthly"].map((level) => on(level).length),
    [6, 7, 4, 12],
  );
  const days = on("daily").map((timeMs) => Math.floor(timeMs / (24 * HOUR_MS)));
  assert.deepEqual(
    days,
    days.map((_, index) => days[0] - index),
  );
  assert.equal(new Set(on("monthly").map((timeMs) => new Date(timeMs).getUTCMonth())).size, 12);
});

test("comes to the same whether it is applied after each snapshot or once to all", () => {
  const levels = fc.record({
    hourly: fc.integer({ min: 1, max: 4 }),
    daily: fc.nat(4),
    weekly: fc.nat(3),
    monthly: fc.nat(3),
  });
  fc.assert(
    fc.property(schedules, levels, (snapshots, some) => {
      let standing: RetentionSnapshot[] = [];
      for (const snapshot of snapshots) {
        standing = promote([...standing, snapshot], some, utcCalendar).keep.map((kept) => kept.snapshot);
      }
      const once = promote(snapshots, some, utcCalendar);
      assert.deepEqual(
        standing,
        once.keep.map((kept) => kept.snapshot),
      );
      assert.equal(once.keep.length + once.remove.length, snapshots.length);
    }),
  );
});

test("keeps the newest even where no level holds anything", () => {
  const none = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
  const { keep } = promote([at(1), at(2)], none, utcCalendar);
  assert.deepEqual(
    keep.map(({ snapshot }) => snapshot.id),
    ["h2"],
  );
});
