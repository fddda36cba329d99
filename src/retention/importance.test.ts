import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { DAY_MS, importanceTargets, orderByImportance } from "./importance.ts";
import type { RetentionSnapshot } from "./snapshot.ts";
import { processorMs } from "../platform/testing/processor-time.ts";

const NOW = Date.parse("2026-03-11T12:00:00Z");
const HOUR_MS = 3_600_000;

function taken(ageMs: number, host = "web1", group = host): RetentionSnapshot {
  return { id: `${group}-${ageMs}`, timeMs: NOW - ageMs, host, group, paths: ["/"], tags: [] };
}

const histories = fc
  .uniqueArray(fc.integer({ min: 0, max: 400 * 24 }), { minLength: 1, maxLength: 120 })
  .map((hours) => hours.map((age) => taken(age * HOUR_MS)));

test("has targets now, on seven days, in four weeks, and every 28 days until one lies before the beginning", () => {
  const [now, ...dated] = importanceTargets(NOW, NOW - 100 * DAY_MS);
  assert.equal(now.timeMs, NOW);
  assert.deepEqual(
    dated.map(({ timeMs }) => new Date(timeMs).toISOString().replace("T00:00:00.000Z", "")),
    (
      "2026-03-11 2026-03-10 2026-03-09 2026-03-08 2026-03-07 2026-03-06 2026-03-05 " +
      "2026-02-26 2026-02-19 2026-02-12 2026-02-05 2026-01-15 2025-12-18 2025-11-20"
    ).split(" "),
  );
});

test("a target of a longer step is a target of each shorter step on an earlier day", () => {
  const [, ...dated] = importanceTargets(NOW, NOW - 1000 * DAY_MS).map(({ timeMs }) => timeMs);
  assert.ok(dated.every((timeMs) => timeMs % DAY_MS === 0));
  assert.ok(dated.slice(7).every((timeMs) => timeMs % (7 * DAY_MS) === 0));
  assert.ok(dated.slice(11).every((timeMs) => timeMs % (28 * DAY_MS) === 0));
});

test("orders every snapshot exactly once", () => {
  fc.assert(
    fc.property(histories, (snapshots) => {
      const order = orderByImportance(snapshots, NOW);
      assert.deepEqual(new Set(order), new Set(snapshots));
      assert.equal(order.length, snapshots.length);
    }),
  );
});

test("puts the newest of each series before everything else, in the order of the hosts' names", () => {
  const snapshots = [1, 2, 3].flatMap((days) => [taken(days * DAY_MS, "b"), taken(days * DAY_MS + 1, "a")]);
  const order = orderByImportance(snapshots, NOW);
  assert.deepEqual(
    order.slice(0, 2).map(({ id }) => id),
    [`a-${DAY_MS + 1}`, `b-${DAY_MS}`],
  );
});

test("gives two series of one host the same weight, even if one always ends just after the other", () => {
  const days = [0, 1, 2, 3, 4, 5];
  const snapshots = days.flatMap((day) => [
    taken(day * DAY_MS + HOUR_MS, "db1", "everything"),
    taken(day * DAY_MS, "db1", "dump"),
  ]);
  const first = orderByImportance(snapshots, NOW).slice(0, 6);
  assert.equal(first.filter(({ group }) => group === "everything").length, 3);
});

test("a host with ten times as many snapshots has no more of them among the most important", () => {
  const few = Array.from({ length: 30 }, (_, day) => taken(day * DAY_MS, "few"));
  const many = Array.from({ length: 300 }, (_, number) => taken((number * DAY_MS) / 10, "many"));
  const first = orderByImportance([...few, ...many], NOW).slice(0, 24);
  assert.equal(first.filter(({ host }) => host === "few").length, 12);
});

test("adding a snapshot that is not the oldest changes the first n of the order by at most one, for every n", () => {
  fc.assert(
    fc.property(histories, fc.double({ min: 0, max: 1, noNaN: true }), (snapshots, position) => {
      const oldestAgeMs = Math.max(...snapshots.map(({ timeMs }) => NOW - timeMs));
      const added = taken(Math.floor(oldestAgeMs * position) - 0.5);
      const before = orderByImportance(snapshots, NOW);
      const after = orderByImportance([...snapshots, added], NOW);
      for (let n = 1; n <= before.length; n++) {
        const still = new Set(after.slice(0, n));
        assert.ok(before.slice(0, n).filter((snapshot) => !still.has(snapshot)).length <= 1);
      }
    }),
  );
});

test("does not hang on the order in which snapshots are given", () => {
  fc.assert(
    fc.property(histories, (snapshots) => {
      assert.deepEqual(orderByImportance(snapshots.toReversed(), NOW), orderByImportance(snapshots, NOW));
    }),
  );
});

test("a snapshot from the future takes no place from those of today", () => {
  const order = orderByImportance([taken(-400 * DAY_MS), taken(HOUR_MS), taken(DAY_MS)], NOW);
  assert.equal(order[0].id, `web1-${HOUR_MS}`);
});

test("after pruning each day to a fixed number, days, weeks and four weeks stand in even steps", () => {
  let standing: RetentionSnapshot[] = [];
  const start = NOW - 700 * DAY_MS;
  for (let day = 0; day < 700; day++) {
    const nowMs = start + day * DAY_MS;
    standing.push({ ...taken(0), id: String(day), timeMs: nowMs });
    standing = orderByImportance(standing, nowMs).slice(0, 20);
    if (day < 400) continue;
    const ages = standing.map(({ timeMs }) => (nowMs - timeMs) / DAY_MS).toSorted((a, b) => a - b);
    const gaps = ages.slice(1).map((age, index) => ({ from: ages[index], gap: age - ages[index] }));
    assert.ok(
      gaps.filter(({ from }) => from < 6).every(({ gap }) => gap === 1),
      `days on day ${day}`,
    );
    assert.ok(
      gaps.filter(({ from }) => from >= 6 && from < 26).every(({ gap }) => gap <= 7),
      `weeks on day ${day}`,
    );
    assert.ok(
      gaps.every(({ gap }) => gap <= 28),
      `four weeks on day ${day}`,
    );
    assert.ok(ages[ages.length - 1] > 200, `history on day ${day}`);
  }
});

test("orders 100,000 snapshots of 100 hosts in well under two seconds of processor time", () => {
  const snapshots = Array.from({ length: 100_000 }, (_, number) =>
    taken(Math.floor(number / 100) * 4 * HOUR_MS + number, `host${number % 100}`),
  );
  const begin = processorMs();
  assert.equal(orderByImportance(snapshots, NOW).length, snapshots.length);
  assert.ok(processorMs() - begin < 2000);
});
