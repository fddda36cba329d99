import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as fc from "fast-check";
import { utcCalendar, type Calendar } from "./calendar.ts";
import {
  applyKeepRules,
  describeKeepRules,
  formatKeepDuration,
  groupSnapshots,
  hasNoRules,
  parseGroupBy,
  parseKeepCount,
  parseKeepDuration,
  parseTagList,
  type KeepRules,
} from "./keep-rules.ts";
import type { RetentionSnapshot } from "./snapshot.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");

function snapshotAt(time: string | number, tags: readonly string[] = []): RetentionSnapshot {
  const timeMs = typeof time === "number" ? time : Date.parse(time);
  return { id: `s${timeMs}`, timeMs, host: "db1", group: "g", paths: ["/srv"], tags };
}

/** Central European time by rule, so that the test does not hang on the machine's zone. */
const berlin: Calendar = {
  dateOf: (timeMs) => utcCalendar.dateOf(timeMs + berlinOffsetMs(timeMs)),
  before(timeMs, years, months, days) {
    const local = utcCalendar.before(timeMs + berlinOffsetMs(timeMs), years, months, days);
    const guess = local - berlinOffsetMs(local);
    return local - berlinOffsetMs(guess);
  },
};

function berlinOffsetMs(timeMs: number): number {
  const year = new Date(timeMs).getUTCFullYear();
  const lastSunday = (month: number) => {
    const end = new Date(Date.UTC(year, month, 31, 1));
    return end.getTime() - end.getUTCDay() * 86_400_000;
  };
  return timeMs >= lastSunday(2) && timeMs < lastSunday(9) ? 7_200_000 : 3_600_000;
}

/** Made with restic 0.14.0 under TZ=Europe/Berlin: `forget --dry-run --json` over 64 snapshots. */
const recorded = JSON.parse(readFileSync(new URL("keep-rules.restic.json", import.meta.url), "utf8")) as {
  snapshots: { time: number; tags: string[] }[];
  policies: { options: string[]; kept: [time: number, reasons: string[]][] }[];
};

for (const { options, kept } of recorded.policies) {
  test(`keeps what restic keeps, for the same reasons: ${options.join(" ")}`, () => {
    const snapshots = recorded.snapshots.map(({ time, tags }) => snapshotAt(time * 1000, tags));
    const plan = applyKeepRules(snapshots, rulesFromOptions(options), NOW, berlin);
    // That version did not keep the oldest yet.
    const ours = plan.keep
      .map(({ snapshot, reasons }) => [
        snapshot.timeMs / 1000,
        reasons.filter((reason) => !reason.startsWith("oldest ")),
      ])
      .filter(([, reasons]) => (reasons as string[]).length > 0);
    assert.deepEqual(ours, kept);
    assert.equal(plan.keep.length + plan.remove.length, snapshots.length);
  });
}

function rulesFromOptions(options: readonly string[]): KeepRules {
  const rules: Record<string, unknown> = {};
  for (let at = 0; at < options.length; at += 2) {
    const name = options[at].replace("--keep-", "").replace(/-(.)/, (_, letter: string) => letter.toUpperCase());
    if (name === "tag") rules.tags = [...((rules.tags as string[][]) ?? []), parseTagList(options[at + 1])];
    else rules[name] = name.startsWith("within") ? parseKeepDuration(options[at + 1]) : parseKeepCount(options[at + 1]);
  }
  return rules;
}

test("names the oldest snapshot as such where a rule has counts left", () => {
  const snapshots = ["2025-05-04T08:00Z", "2025-05-04T09:00Z", "2025-05-04T10:00Z"].map((time) => snapshotAt(time));
  const plan = applyKeepRules(snapshots, { daily: 3, withinDaily: parseKeepDuration("1y") }, NOW, utcCalendar);
  assert.deepEqual(
    plan.keep.map(({ snapshot, reasons }) => [snapshot.timeMs, reasons]),
    [
      [Date.parse("2025-05-04T10:00Z"), ["daily snapshot", "daily within 1y"]],
      [Date.parse("2025-05-04T08:00Z"), ["oldest daily snapshot", "oldest daily within 1y"]],
    ],
  );
});

test("counts weeks from Monday, and gives days around New Year to the week of their Thursday", () => {
  const days = [
    "2024-12-29T12:00Z",
    "2024-12-30T12:00Z",
    "2025-01-01T12:00Z",
    "2025-01-05T12:00Z",
    "2025-01-06T12:00Z",
  ];
  const plan = applyKeepRules(
    days.map((day) => snapshotAt(day)),
    { weekly: 3 },
    NOW,
    utcCalendar,
  );
  assert.deepEqual(
    plan.keep.map(({ snapshot }) => new Date(snapshot.timeMs).toISOString().slice(0, 10)),
    ["2025-01-06", "2025-01-05", "2024-12-29"],
  );
});

test("measures a span from the latest snapshot, and not from one in the future", () => {
  const future = snapshotAt("2027-01-01T00:00Z");
  const snapshots = [
    future,
    snapshotAt("2025-06-30T00:00Z"),
    snapshotAt("2025-06-02T00:00Z"),
    snapshotAt("2025-05-29T00:00Z"),
  ];
  const plan = applyKeepRules(snapshots, { within: parseKeepDuration("1m") }, NOW, utcCalendar);
  assert.deepEqual(
    plan.remove.map(({ timeMs }) => timeMs),
    [Date.parse("2025-05-29T00:00Z")],
  );
});

test("keeps everything within a span where all snapshots lie in the future", () => {
  const snapshots = [snapshotAt("2027-01-01T00:00Z"), snapshotAt("2028-01-01T00:00Z")];
  const plan = applyKeepRules(snapshots, { within: parseKeepDuration("1h") }, NOW, utcCalendar);
  assert.equal(plan.remove.length, 0);
});

test("rules that keep zero are no rules", () => {
  assert.equal(hasNoRules({}), true);
  assert.equal(hasNoRules({ last: 0, daily: 0, within: parseKeepDuration("0d"), tags: [] }), true);
  assert.equal(hasNoRules({ last: "unlimited" }), false);
  assert.equal(hasNoRules({ tags: [[""]] }), false);
});

test("a plan holds each snapshot once, whatever the rules, and adding a rule never removes more", () => {
  const rules = fc.record(
    {
      last: fc.nat(5),
      hourly: fc.nat(5),
      daily: fc.nat(5),
      weekly: fc.oneof(fc.nat(5), fc.constant("unlimited" as const)),
      monthly: fc.nat(5),
      yearly: fc.nat(5),
    },
    { requiredKeys: [] },
  );
  const times = fc.array(fc.integer({ min: NOW - 3e10, max: NOW + 1e9 }), { maxLength: 40 });
  fc.assert(
    fc.property(times, rules, fc.integer({ min: 1, max: 9 }), (moments, some, last) => {
      const snapshots = moments.map((timeMs, index) => ({ ...snapshotAt(timeMs), id: String(index) }));
      const plan = applyKeepRules(snapshots, some, NOW, utcCalendar);
      const all = [...plan.keep.map(({ snapshot }) => snapshot.id), ...plan.remove.map(({ id }) => id)];
      assert.deepEqual(all.toSorted(), snapshots.map(({ id }) => id).toSorted());
      const more = applyKeepRules(snapshots, { ...some, last: (some.last ?? 0) + last }, NOW, utcCalendar);
      const keptByMore = new Set(more.keep.map(({ snapshot }) => snapshot.id));
      assert.ok(plan.keep.every(({ snapshot }) => keptByMore.has(snapshot.id)));
    }),
  );
});

test("groups by host and paths, where paths are sealed by the record's group", () => {
  const one = { ...snapshotAt(1), paths: ["/b", "/a"] };
  const two = { ...snapshotAt(2), paths: ["/a", "/b"], tags: ["x"] };
  const three = { ...snapshotAt(3), host: "db2" };
  const sealed = { ...snapshotAt(4), paths: [], group: "g4" };
  const otherSealed = { ...snapshotAt(5), paths: [], group: "g5" };
  const groups = groupSnapshots([one, two, three, sealed, otherSealed], { host: true, paths: true, tags: false });
  assert.deepEqual(
    groups.map(({ host, paths, snapshots }) => [host, paths, snapshots.map(({ timeMs }) => timeMs)]),
    [
      ["db1", ["/a", "/b"], [1, 2]],
      ["db2", ["/srv"], [3]],
      ["db1", [], [4]],
      ["db1", [], [5]],
    ],
  );
  assert.equal(groupSnapshots([one, two, three, sealed], { host: false, paths: false, tags: false }).length, 1);
  assert.equal(groupSnapshots([one, two], { host: true, paths: true, tags: true }).length, 2);
});

test("reads durations, counts and groupings strictly", () => {
  assert.deepEqual(parseKeepDuration("2y5m7d3h"), { years: 2, months: 5, days: 7, hours: 3 });
  assert.deepEqual(parseKeepDuration(" 3h2y "), { years: 2, months: 0, days: 0, hours: 3 });
  for (const text of ["", "7", "1w", "-1d", "1d1d", "1.5d", "d", "1 d", "1d x"]) {
    assert.equal(parseKeepDuration(text), undefined, text);
  }
  assert.equal(parseKeepCount("12"), 12);
  assert.equal(parseKeepCount("unlimited"), "unlimited");
  for (const text of ["", "-1", "1.5", "1e3", "all"]) assert.equal(parseKeepCount(text), undefined, text);
  assert.deepEqual(parseGroupBy("host,tags"), { host: true, paths: false, tags: true });
  assert.deepEqual(parseGroupBy(""), { host: false, paths: false, tags: false });
  assert.equal(parseGroupBy("host,colour"), undefined);
});

test("a duration is read back as it is written", () => {
  const part = fc.nat(999);
  fc.assert(
    fc.property(
      fc.record({ years: part, months: part, days: part, hours: fc.integer({ min: 1, max: 999 }) }),
      (duration) => {
        assert.deepEqual(parseKeepDuration(formatKeepDuration(duration)), { ...duration });
      },
    ),
  );
});

test("says its rules in a sentence", () => {
  const rules: KeepRules = {
    last: 2,
    daily: "unlimited",
    withinWeekly: parseKeepDuration("3m"),
    tags: [["a", "b"]],
    within: parseKeepDuration("1y"),
  };
  assert.equal(
    describeKeepRules(rules),
    "keep 2 latest, all daily snapshots, weekly snapshots within 3m and all snapshots with tags [a, b] and all snapshots within 1y of the newest",
  );
});
