import assert from "node:assert/strict";
import { test } from "node:test";
import { utcCalendar } from "../retention/calendar.ts";
import type { StoredSnapshot } from "../retention/space.ts";
import { planRetention, type RetentionHost, type RetentionRequest } from "./retention-plan.ts";

const DAY_MS = 86_400_000;
const NOW_MS = Date.parse("2026-11-20T12:00:00Z");
const FLOOR = { newestVerified: 2, youngerThanMs: 7 * DAY_MS };

function snapshot(hostName: string, ageDays: number, more: Partial<StoredSnapshot> = {}): StoredSnapshot {
  const common = { paths: [], tags: [], verified: true, suddenGrowth: false };
  const names = { id: `${hostName}-${ageDays}`, host: hostName, group: hostName };
  return { ...names, timeMs: NOW_MS - ageDays * DAY_MS, ...common, ...more };
}

function host(name: string, more: Partial<RetentionHost> = {}): RetentionHost {
  return { name, policy: { kind: "importance" }, floor: FLOOR, usedBytes: 0, quota: undefined, ...more };
}

function plan(request: Partial<RetentionRequest<StoredSnapshot>>) {
  const whole = {
    hosts: [],
    snapshots: [],
    neededBytes: 0,
    release: () => 10,
    nowMs: NOW_MS,
    calendar: utcCalendar,
    ...request,
  };
  const { forget, lackingBytes } = planRetention(whole);
  return { forget: forget.map(({ snapshot: { id }, reason }) => `${id} ${reason}`), lackingBytes };
}

const daily = (name: string, days: number) => Array.from({ length: days }, (_, day) => snapshot(name, day + 0.5));

test("where there is room, importance lets nothing go", () => {
  assert.deepEqual(plan({ hosts: [host("a")], snapshots: daily("a", 400) }), { forget: [], lackingBytes: 0 });
});

test("what is needed is freed from the tail of importance, and no more", () => {
  const { forget, lackingBytes } = plan({ hosts: [host("a")], snapshots: daily("a", 100), neededBytes: 95 });
  assert.equal(forget.length, 10);
  assert.equal(lackingBytes, 0);
  assert.ok(forget.every((line) => line.endsWith(" space")));
});

test("the floor holds although the disc is full, and what lacks is told", () => {
  const snapshots = [...daily("a", 10), snapshot("b", 400), snapshot("b", 300), snapshot("b", 200)];
  const { forget, lackingBytes } = plan({ hosts: [host("a"), host("b")], snapshots, neededBytes: 10_000 });
  // Of a: those of seven days. Of b: the newest two.
  assert.deepEqual(forget.toSorted(), ["a-7.5 space", "a-8.5 space", "a-9.5 space", "b-400 space"]);
  assert.equal(lackingBytes, 9960);
});

test("unverified snapshots do not push verified ones off the floor", () => {
  const snapshots = [10, 11, 12]
    .map((age) => snapshot("a", age, { verified: false }))
    .concat([snapshot("a", 50), snapshot("a", 60)]);
  const { forget } = plan({ hosts: [host("a")], snapshots, neededBytes: 1e9 });
  assert.deepEqual(forget.map((line) => line.split(" ")[0]).toSorted(), ["a-10", "a-11", "a-12"]);
});

test("what a sudden growth stored goes before anything of the others", () => {
  const sudden = [20, 21].map((age) => snapshot("wild", age, { suddenGrowth: true }));
  const snapshots = [...daily("calm", 40), ...daily("wild", 12).slice(9), ...sudden];
  const { forget } = plan({ hosts: [host("calm"), host("wild")], snapshots, neededBytes: 20 });
  assert.deepEqual(forget, ["wild-21 space", "wild-20 space"]);
});

test("a policy's end frees space first, so that others need not make room", () => {
  const hosts = [host("a", { policy: { kind: "age", maxAgeMs: 30 * DAY_MS } }), host("b")];
  const { forget } = plan({ hosts, snapshots: [...daily("a", 40), ...daily("b", 40)], neededBytes: 100 });
  assert.equal(forget.length, 10);
  assert.ok(forget.every((line) => /^a-.* policy$/.test(line)));
});

test("a host above its soft quota gives of its own alone, whatever its policy", () => {
  const policy = { kind: "age", maxAgeMs: 1000 * DAY_MS } as const;
  const hosts = [host("a", { policy, usedBytes: 400, quota: { softBytes: 370, hardBytes: 500 } }), host("b")];
  const { forget } = plan({ hosts, snapshots: [...daily("a", 40), ...daily("b", 40)] });
  assert.equal(forget.length, 3);
  assert.ok(forget.every((line) => /^a-.* quota$/.test(line)));
});

test("snapshots of hosts that nobody knows, and policies other than importance, make no room", () => {
  const hosts = [
    host("a", { policy: { kind: "promotion", levels: { hourly: 99, daily: 99, weekly: 99, monthly: 99 } } }),
  ];
  const { forget, lackingBytes } = plan({
    hosts,
    snapshots: [...daily("a", 40), ...daily("stranger", 40)],
    neededBytes: 50,
  });
  assert.deepEqual(forget, []);
  assert.equal(lackingBytes, 50);
});
