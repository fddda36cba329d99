import assert from "node:assert/strict";
import { test } from "node:test";
import { utcCalendar } from "./calendar.ts";
import { describeByAge, drawStandingSnapshots } from "./drawing.ts";
import { DAY_MS } from "./importance.ts";
import { simulate, type SimulatedHost, type Simulation } from "./simulate.ts";
import { DEFAULT_FLOOR } from "./space.ts";

const GB = 1e9;
const growing: SimulatedHost = {
  name: "web1",
  everyMs: DAY_MS,
  policy: { kind: "importance" },
  firstBytes: 100 * GB,
  addedBytesPerDay: 0.1 * GB,
  replacedBytesPerDay: 2 * GB,
  yearlyGrowth: 1.4,
};

function threeYears(hosts: readonly SimulatedHost[], discBytes: number | undefined, days = 1095): Simulation {
  return {
    hosts,
    startMs: Date.parse("2026-01-01T00:00Z"),
    days,
    discBytes,
    floor: DEFAULT_FLOOR,
    calendar: utcCalendar,
  };
}

for (const everyMs of [DAY_MS, DAY_MS / 6]) {
  test(`a growing host, saved every ${everyMs / 3_600_000} hours for three years, never fills its disc`, () => {
    for (const { day, endMs, usedBytes, refusedRuns, standing } of simulate(
      threeYears([{ ...growing, everyMs }], 1000 * GB),
    )) {
      assert.equal(refusedRuns, 0);
      assert.ok(usedBytes <= 990 * GB);
      if (day < 500) continue;
      const bands = describeByAge(standing.get("web1")!, endMs);
      assert.ok(bands[0].widestGapMs! <= DAY_MS);
      assert.ok(bands[1].widestGapMs! <= 7 * DAY_MS);
      assert.ok(bands.every(({ widestGapMs }) => widestGapMs === undefined || widestGapMs <= 28 * DAY_MS));
      assert.ok(bands[0].count >= (7 * DAY_MS) / everyMs);
    }
  });
}

test("on a disc that is too small runs are refused, and the floor stands", () => {
  const days = [...simulate(threeYears([growing], 160 * GB, 200))];
  assert.ok(days.some(({ refusedRuns }) => refusedRuns > 0));
  assert.ok(days.slice(3).every(({ standing }) => standing.get("web1")!.length >= 3));
  assert.ok(days.every(({ usedBytes }) => usedBytes <= 160 * GB));
});

test("a host gone wild takes from no other host more than free space: the others' snapshots stand as without it", () => {
  const quiet = { ...growing, name: "quiet", yearlyGrowth: 1 };
  const wild = { ...growing, name: "wild", yearlyGrowth: 1, surge: { fromDay: 120, bytesPerRun: 60 * GB } };
  const oldest = (hosts: readonly SimulatedHost[]) => {
    const last = [...simulate(threeYears(hosts, 900 * GB, 365))].at(-1)!;
    return { day: (last.endMs - last.standing.get("quiet")![0]) / DAY_MS, count: last.standing.get("quiet")!.length };
  };
  const tame = oldest([quiet, { ...wild, surge: undefined }]);
  const beside = oldest([quiet, wild]);
  assert.ok(beside.day >= tame.day - 28, `history of ${beside.day} days instead of ${tame.day}`);
  assert.ok(beside.count >= tame.count * 0.8, `${beside.count} snapshots instead of ${tame.count}`);
});

test("without an end of space, only a policy of its own lets snapshots go", () => {
  const simulated = (policy: SimulatedHost["policy"]) => simulate(threeYears([{ ...growing, policy }], undefined, 100));
  const last = (policy: SimulatedHost["policy"]) => [...simulated(policy)].at(-1)!.standing.get("web1")!.length;
  assert.equal(last({ kind: "importance" }), 100);
  assert.equal(last({ kind: "age", maxAgeMs: 30 * DAY_MS }), 30);
  // On a Friday, the floor's seven days reach into the week before: only the third week adds one.
  assert.equal(last({ kind: "keep", rules: { weekly: 3 } }), 8);
});

test("used space is what the standing snapshots need: nothing is left when only one state of the data stands", () => {
  const settings = { ...growing, addedBytesPerDay: 0, policy: { kind: "age", maxAgeMs: DAY_MS / 2 } } as const;
  const floor = { newestVerified: 1, youngerThanMs: 0 };
  const last = [...simulate({ ...threeYears([{ ...settings, yearlyGrowth: 1 }], undefined, 300), floor })].at(-1)!;
  assert.equal(last.standing.get("web1")!.length, 1);
  // 100 GB, and of what is replaced: the last day's third, a week's and a quarter's.
  assert.equal(Math.round(last.usedBytes / GB), Math.round(100 + (2 / 3) * (1 + 7 + 91)));
});

test("draws a line a period, with a mark where snapshots stand", () => {
  const simulation = threeYears([{ ...growing, policy: { kind: "keep", rules: { daily: 14 } } }], 1000 * GB, 56);
  const picture = drawStandingSnapshots([...simulate(simulation)], {
    host: "web1",
    startMs: simulation.startMs,
    days: 56,
    everyMs: DAY_MS,
    discBytes: 1000 * GB,
    columns: 8,
    everyDays: 14,
  });
  assert.deepEqual(picture.split("\n").slice(1, 5), [
    "   14 │██      │   14  13 %",
    "   28 │  ██    │   14  14 %",
    "   42 │    ██  │   14  16 %",
    "   56 │      ██│   14  17 %",
  ]);
});
