import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  admitRun,
  bytesOverSoftQuota,
  bytesToRelease,
  DEFAULT_FLOOR,
  forgetForSpace,
  orderToKeep,
  protectedByFloor,
  sharesOfNeed,
  spaceThresholds,
  usualRunLimitBytes,
  type EarlierRun,
  type StoredSnapshot,
} from "./space.ts";

const NOW = Date.parse("2026-03-11T12:00:00Z");
const DAY_MS = 86_400_000;
const GB = 1e9;

function stored(ageDays: number, more: Partial<StoredSnapshot> = {}): StoredSnapshot {
  const base = { host: "a", group: "a", paths: [], tags: [], verified: true, suddenGrowth: false, ...more };
  return { id: `${base.group}-${ageDays}`, timeMs: NOW - ageDays * DAY_MS, ...base };
}

const fleets = fc.array(
  fc.record({
    age: fc.double({ min: -1, max: 400, noNaN: true }),
    group: fc.constantFrom("a", "b", "c"),
    verified: fc.boolean(),
    suddenGrowth: fc.boolean(),
  }),
  { maxLength: 60 },
);

test("whatever space is missing, the floor stands: the newest verified of each group, and all that are young", () => {
  fc.assert(
    fc.property(fleets, fc.double({ min: 0, max: 1e12, noNaN: true }), (some, neededBytes) => {
      const snapshots = some.map(({ age, ...more }, index) => ({ ...stored(age, more), id: String(index) }));
      const kept = protectedByFloor(snapshots, DEFAULT_FLOOR, NOW);
      const { forget } = forgetForSpace(orderToKeep(snapshots, NOW), kept, neededBytes, () => 1e9);
      const left = snapshots.filter((snapshot) => !forget.includes(snapshot));
      for (const group of ["a", "b", "c"]) {
        const members = snapshots.filter((snapshot) => snapshot.group === group && !snapshot.suddenGrowth);
        const verified = members.filter((snapshot) => snapshot.verified).toSorted((a, b) => b.timeMs - a.timeMs);
        assert.ok(verified.slice(0, 3).every((snapshot) => left.includes(snapshot)));
        assert.ok(left.filter((snapshot) => snapshot.group === group).length >= Math.min(3, members.length));
      }
      const usual = snapshots.filter(({ suddenGrowth }) => !suddenGrowth);
      assert.ok(usual.every((snapshot) => NOW - snapshot.timeMs >= 7 * DAY_MS || left.includes(snapshot)));
    }),
  );
});

test("the floor does not hold what a sudden growth stored, which goes before any good snapshot", () => {
  const good = [stored(20, { host: "b", group: "b" }), stored(300, { host: "b", group: "b" })];
  const sudden = stored(0, { suddenGrowth: true });
  const all = [...good, stored(1), sudden];
  const kept = protectedByFloor(all, DEFAULT_FLOOR, NOW);
  const { forget } = forgetForSpace(orderToKeep(all, NOW), kept, 1, () => 1);
  assert.deepEqual(forget, [sudden]);
});

test("a flood of unverified snapshots does not wash verified ones off the floor", () => {
  const good = [stored(20), stored(21), stored(22)];
  const flood = Array.from({ length: 50 }, (_, index) => stored(8 + index / 100, { verified: false }));
  const kept = protectedByFloor([...good, ...flood], DEFAULT_FLOOR, NOW);
  assert.ok(good.every((snapshot) => kept.has(snapshot)));
});

test("starts under the larger of 5 % and 1.5 mean backups, stops at twice that", () => {
  assert.deepEqual(spaceThresholds(1000 * GB, []), {
    startBelowBytes: 50 * GB,
    stopAtBytes: 100 * GB,
    refuseBelowBytes: 10 * GB,
  });
  const sizes = [9999 * GB, ...Array.from({ length: 10 }, (_, index) => (56 + (index % 2) * 8) * GB)];
  assert.equal(spaceThresholds(1000 * GB, sizes).startBelowBytes, 90 * GB);
  assert.equal(spaceThresholds(1000 * GB, [800 * GB]).startBelowBytes, 250 * GB);
});

test("releases nothing until the threshold is crossed, then enough for the second, counting what is on its way", () => {
  const thresholds = spaceThresholds(1000 * GB, []);
  assert.equal(bytesToRelease(50 * GB, 0, thresholds), 0);
  assert.equal(bytesToRelease(49 * GB, 0, thresholds), 51 * GB);
  assert.equal(bytesToRelease(20 * GB, 40 * GB, thresholds), 0);
});

test("takes from the tail, stops as soon as it is enough, and says when the floor came first", () => {
  const order = [stored(1), stored(2), stored(3), stored(4)];
  const asked: string[] = [];
  const releases = (snapshot: StoredSnapshot) => (asked.push(snapshot.id), 10);
  assert.deepEqual(forgetForSpace(order, new Set([order[2]]), 15, releases), {
    forget: [order[3], order[1]],
    releasedBytes: 20,
    enough: true,
  });
  assert.deepEqual(asked, ["a-4", "a-2"]);
  assert.equal(forgetForSpace(order, new Set(order), 1, releases).enough, false);
});

test("what a sudden growth brought goes before anything else", () => {
  const snapshots = [stored(1, { suddenGrowth: true }), stored(300), stored(301)];
  assert.equal(orderToKeep(snapshots, NOW).at(-1)?.suddenGrowth, true);
});

function runs(...sizesGb: (number | Partial<EarlierRun>)[]): EarlierRun[] {
  return sizesGb.map((size) => ({
    suddenGrowth: false,
    accepted: false,
    ...(typeof size === "number" ? { storedBytes: size * GB } : { storedBytes: 0, ...size }),
  }));
}

for (const [name, history, limitGb] of [
  ["a new host may take its fair share", runs(), 100],
  ["the first backup, which stores everything, says nothing about the next", runs(90, 2), 100],
  ["ten times the median", runs(90, 2, 3, 2), 20],
  ["a hundredth of its share at least", runs(90, 0.001, 0.001), 1],
  ["a quarter more than what it reached three times", runs(0, 1, 1, 1, 1, 1, 1, 1, 40, 40, 44), 50],
  ["what it reached only twice does not count", runs(0, 1, 1, 1, 1, 1, 1, 1, 40, 44), 10],
  [
    "a quarter more than what a person accepted",
    runs(0, 1, 1, 1, { storedBytes: 80 * GB, suddenGrowth: true, accepted: true }),
    100,
  ],
  [
    "nothing it took by sudden growth",
    runs(0, 1, 1, 1, ...Array.from({ length: 9 }, () => ({ storedBytes: 80 * GB, suddenGrowth: true }))),
    10,
  ],
] as const) {
  test(`usual for a host: ${name}`, () => {
    assert.equal(usualRunLimitBytes(history, 100 * GB), limitGb * GB);
  });
}

const unlimited = { usedBytes: 0, quota: undefined };
const thresholds = spaceThresholds(1000 * GB, []);

for (const [name, request, expected] of [
  [
    "what fits beside the reserve for pruning",
    { freeBytes: 60 * GB, usualLimitBytes: 1000 * GB },
    [50 * GB, "free space"],
  ],
  ["nothing when the disc is full", { freeBytes: 5 * GB, usualLimitBytes: 1000 * GB }, [0, "free space"]],
  [
    "the usual, where only pruning could make room",
    { freeBytes: 90 * GB, usualLimitBytes: 20 * GB },
    [20 * GB, "sudden growth"],
  ],
  [
    "beyond the usual, what is free without pruning",
    { freeBytes: 700 * GB, usualLimitBytes: 20 * GB },
    [600 * GB, "sudden growth"],
  ],
  [
    "what is left of the host's hard quota",
    { host: { usedBytes: 70 * GB, quota: { softBytes: 50 * GB, hardBytes: 80 * GB } } },
    [10 * GB, "host quota"],
  ],
  [
    "nothing over the account's hard quota",
    { account: { usedBytes: 90 * GB, quota: { softBytes: 50 * GB, hardBytes: 80 * GB } } },
    [0, "account quota"],
  ],
] as const) {
  test(`a run may store ${name}`, () => {
    const usual = { freeBytes: 1000 * GB, thresholds, usualLimitBytes: 1000 * GB, host: unlimited, account: unlimited };
    const { allowedBytes, limitedBy } = admitRun({ ...usual, ...request });
    assert.deepEqual([allowedBytes, limitedBy], expected);
  });
}

test("an owner over the soft quota gives up the difference", () => {
  assert.equal(bytesOverSoftQuota(70, { softBytes: 50, hardBytes: 80 }), 20);
  assert.equal(bytesOverSoftQuota(40, { softBytes: 50, hardBytes: 80 }), 0);
  assert.equal(bytesOverSoftQuota(40, undefined), 0);
});

test("of those who share a disc, whoever uses most for each host gives first, until all that give are level", () => {
  const of = (...uses: [number, number][]) => uses.map(([usedBytes, hosts]) => ({ usedBytes, hosts }));
  assert.deepEqual(sharesOfNeed(of([100, 1]), 30), [30]);
  assert.deepEqual(sharesOfNeed(of([100, 1], [40, 1]), 30), [30, 0]);
  assert.deepEqual(sharesOfNeed(of([40, 1], [100, 1]), 80), [10, 70]);
  // Ten hosts with ten each use no more than one host with ten.
  assert.deepEqual(sharesOfNeed(of([100, 10], [50, 1]), 30), [0, 30]);
  assert.deepEqual(sharesOfNeed(of([100, 10], [10, 1]), 11), [10, 1]);
  assert.deepEqual(sharesOfNeed(of([5, 1], [5, 1]), 1000), [5, 5]);
});

test("shares of a need add up to it, and nobody gives more than it uses", () => {
  const sharer = fc.record({ usedBytes: fc.integer({ min: 0, max: 1e12 }), hosts: fc.integer({ min: 1, max: 500 }) });
  fc.assert(
    fc.property(
      fc.array(sharer, { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 0, max: 1e13 }),
      (sharers, need) => {
        const shares = sharesOfNeed(sharers, need);
        const total = sharers.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
        const given = shares.reduce((sum, share) => sum + share, 0);
        assert.ok(Math.abs(given - Math.min(need, total)) <= 1 + total * 1e-9, `${given} of ${need}`);
        for (const [place, share] of shares.entries()) assert.ok(share >= 0 && share <= sharers[place].usedBytes);
      },
    ),
  );
});
