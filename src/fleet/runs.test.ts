import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { recordAccount } from "./accounts.ts";
import { migrate, STEPS } from "./database/migrations.ts";
import { openMemoryDatabase, type Database } from "./database/open.ts";
import { addHost, findHost, offerKeys } from "./hosts.ts";
import { nextRunOf } from "./next-run.ts";
import { DEFAULT_POLICY, savePolicy } from "./policies.ts";
import { beginRun, endRun, findRun, listRuns, noteRefusal, takeBackRun, trimHistory, wantRun } from "./runs.ts";
import { DAY_MS, HOUR_MS, keysOf, START_MS } from "./testing/fleet.ts";

async function oneHost(schedule = "every 4h"): Promise<Database> {
  const database = openMemoryDatabase();
  const account = { name: "default", storageUrl: "/r", keyMode: "server", quota: {}, createdMs: START_MS } as const;
  await recordAccount(database, account);
  await savePolicy(database, "default", { ...DEFAULT_POLICY, schedule });
  const host = { name: "web", account: "default", policy: "default", keyMode: "full", quota: {} } as const;
  await addHost(database, host, START_MS);
  await offerKeys(database, "web", keysOf("web"));
  return database;
}

async function snapshotAt(database: Database, timeMs: number): Promise<void> {
  const sums = { files: 1, size_bytes: 1, added_bytes: 1, stored_bytes: 1, verified_ms: null, signer: "" };
  const row = { id: `s${timeMs}`, account_id: 1, host: "web", time_ms: timeMs, group_id: "g", complete: 1, ...sums };
  await database.insertInto("snapshots").values(row).execute();
  await endRun(database, await beginRun(database, 1, timeMs), { state: "succeeded", snapshot: row.id }, timeMs + 1);
}

test("a run that somebody wants waits, is the next that begins, and is wanted no more", async () => {
  const database = await oneHost();
  const wanted = await wantRun(database, 1, START_MS);
  assert.deepEqual([wanted.state, wanted.wantedMs, wanted.host], ["waiting", START_MS, "web"]);
  assert.equal((await wantRun(database, 1, START_MS + 1)).id, wanted.id, "to want it twice is to want it once");
  assert.equal(await beginRun(database, 1, START_MS + 5), wanted.id);
  assert.equal((await wantRun(database, 1, START_MS + 6)).id, wanted.id, "it is under way");
  await endRun(database, wanted.id, { state: "succeeded" }, START_MS + 9);
  const { state, startedMs, wantedMs } = (await findRun(database, wanted.id))!;
  assert.deepEqual([state, startedMs, wantedMs], ["succeeded", START_MS + 5, START_MS]);
  assert.notEqual(await beginRun(database, 1, START_MS + 10), wanted.id);
});

test("a wanted run can be taken back", async () => {
  const database = await oneHost();
  await wantRun(database, 1, START_MS);
  assert.equal(await takeBackRun(database, 1), true);
  assert.equal(await takeBackRun(database, 1), false);
  assert.deepEqual(await listRuns(database, { limit: 9 }), []);
});

test("a host is due at once when somebody wants it, else by its schedule", async () => {
  const database = await oneHost();
  const next = async (nowMs: number) => nextRunOf(database, await findHost(database, "web"), nowMs);
  assert.deepEqual(await next(START_MS + 9), { nextRunMs: START_MS, wanted: false }, "it was never saved");
  await snapshotAt(database, START_MS);
  const { nextRunMs } = await next(START_MS + 1);
  assert.ok(nextRunMs >= START_MS + HOUR_MS && nextRunMs <= START_MS + 5 * HOUR_MS);
  await wantRun(database, 1, START_MS + 2);
  assert.deepEqual(await next(START_MS + 3), { nextRunMs: START_MS + 3, wanted: true });
});

test("what failed is tried again after an hour, and not each time that the host asks", async () => {
  const database = await oneHost();
  await snapshotAt(database, START_MS);
  const triedMs = START_MS + 20 * HOUR_MS;
  await noteRefusal(database, 1, "its quota is used up", triedMs);
  const { nextRunMs } = await nextRunOf(database, await findHost(database, "web"), triedMs + 1);
  assert.equal(nextRunMs, triedMs + HOUR_MS);
});

test("a refusal is recorded once, however often it is repeated, and a flood of them not at all", async () => {
  const database = await oneHost();
  for (let minute = 0; minute < 30; minute++) await noteRefusal(database, 1, "too soon", START_MS + minute * 60_000);
  const [first, ...others] = await listRuns(database, { state: "refused", limit: 99 });
  assert.deepEqual([first.error, first.startedMs, first.endedMs], ["too soon", START_MS, START_MS + 29 * 60_000]);
  assert.equal(others.length, 0);
  for (let number = 0; number < 100; number++) await noteRefusal(database, 1, `reason ${number}`, START_MS + number);
  assert.equal((await listRuns(database, { state: "refused", limit: 999 })).length, 20);
  await noteRefusal(database, 1, "too soon", START_MS + 2 * HOUR_MS);
  assert.equal((await listRuns(database, { state: "refused", limit: 999 })).length, 21);
});

test("a wanted run that is refused ends so", async () => {
  const database = await oneHost();
  const { id } = await wantRun(database, 1, START_MS);
  await noteRefusal(database, 1, "the disc is full", START_MS + 1);
  const { state, error } = (await findRun(database, id))!;
  assert.deepEqual([state, error], ["refused", "the disc is full"]);
});

test("history goes by age and by number, but never what the growth guard and status need", async () => {
  const database = await oneHost();
  const limits = { days: 30, runs: 120 };
  for (let day = 0; day < 110; day++) await snapshotAt(database, START_MS + day * DAY_MS);
  const lastMs = START_MS + 109 * DAY_MS;
  const sudden = { state: "succeeded", snapshot: `s${START_MS}`, suddenGrowth: true } as const;
  const [oldest] = (await listRuns(database, { limit: 999 })).toReversed();
  await database.updateTable("runs").set({ sudden_growth: 1 }).where("id", "=", oldest.id).execute();
  assert.equal(oldest.snapshot, sudden.snapshot);
  for (let number = 0; number < 200; number++) {
    const id = await beginRun(database, 1, lastMs + number);
    await endRun(database, id, { state: "failed", error: "x" }, lastMs + number);
  }
  const waiting = await wantRun(database, 1, lastMs + 300);
  const job = { account_id: 1, kind: "check", detail: "{}", ended_ms: 1 } as const;
  for (const [day, state] of [
    [0, "succeeded"],
    [1, "succeeded"],
    [2, "failed"],
    [3, "failed"],
  ] as const) {
    const row = { ...job, state, started_ms: START_MS + day * DAY_MS };
    await database.insertInto("maintenance").values(row).execute();
  }
  while ((await trimHistory(database, limits, lastMs + 400)) > 0);
  const left = await listRuns(database, { limit: 999 });
  assert.equal(left.filter(({ snapshot }) => snapshot !== null).length, 101, "a hundred, and the sudden growth");
  assert.ok(left.some(({ id }) => id === oldest.id));
  assert.ok(left.some(({ id }) => id === waiting.id));
  assert.equal(left.filter(({ state }) => state === "failed").length, 119);
  const jobs = await database.selectFrom("maintenance").select(["started_ms", "state"]).orderBy("id").execute();
  assert.deepEqual(
    jobs.map(({ started_ms: startedMs, state }) => [(startedMs - START_MS) / DAY_MS, state]),
    [
      [1, "succeeded"],
      [3, "failed"],
    ],
  );
});

test("runs and their logs outlive the step to a later version of the database", () => {
  const sqlite = new DatabaseSync(":memory:");
  sqlite.exec("PRAGMA foreign_keys = ON");
  migrate(sqlite, STEPS.slice(0, 2));
  sqlite.exec(`
    INSERT INTO accounts VALUES (1, 'a', '/r', 'server', NULL, NULL, 1);
    INSERT INTO policies VALUES (1, 'p', '{}');
    INSERT INTO hosts (id, account_id, policy_id, name, state, key_mode, created_ms)
      VALUES (1, 1, 1, 'web', 'active', 'full', 1);
    INSERT INTO runs (id, host_id, started_ms, ended_ms, state, error) VALUES (7, 1, 5, 6, 'failed', 'no');
    INSERT INTO run_log (run_id, at_ms, level, message) VALUES (7, 5, 'info', 'it began');`);
  migrate(sqlite);
  assert.deepEqual(
    { ...sqlite.prepare("SELECT id, state, error, wanted_ms FROM runs").get() },
    {
      id: 7,
      state: "failed",
      error: "no",
      wanted_ms: null,
    },
  );
  sqlite.exec("DELETE FROM runs");
  assert.equal(sqlite.prepare("SELECT count(*) AS lines FROM run_log").get()!.lines, 0, "the log goes with its run");
});
