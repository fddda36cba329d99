import assert from "node:assert/strict";
import { test } from "node:test";
import type { Database } from "./database/open.ts";
import { openMemoryDatabase } from "./database/open.ts";
import { recordAccount } from "./accounts.ts";
import { fleetStatus } from "./health.ts";
import { addHost, editHost, offerKeys } from "./hosts.ts";
import { listCatalogue } from "./catalogue.ts";
import { DEFAULT_POLICY, savePolicy } from "./policies.ts";
import { beginRun, endRun } from "./runs.ts";
import { keysOf, START_MS } from "./testing/fleet.ts";

const HOUR_MS = 3_600_000;
const measure = () => ({ totalBytes: 1e12, freeBytes: 5e11 });

async function fleet(hosts: readonly string[]): Promise<Database> {
  const database = openMemoryDatabase();
  await recordAccount(database, {
    name: "default",
    storageUrl: "/r",
    keyMode: "server",
    quota: {},
    createdMs: START_MS,
  });
  await savePolicy(database, "default", DEFAULT_POLICY);
  for (const name of hosts) {
    await addHost(database, { name, account: "default", policy: "default", keyMode: "full", quota: {} }, START_MS);
    await offerKeys(database, name, keysOf(name));
  }
  return database;
}

async function snapshot(database: Database, host: string, timeMs: number, complete = 1): Promise<void> {
  const sums = { files: 1, size_bytes: 1, added_bytes: 1, stored_bytes: 1, verified_ms: null, signer: "" };
  await database
    .insertInto("snapshots")
    .values({ id: `${host}${timeMs}`, account_id: 1, host, time_ms: timeMs, group_id: host, complete, ...sums })
    .execute();
}

async function statusOf(database: Database, nowMs: number, host: string) {
  const { hosts } = await fleetStatus(database, { nowMs, measure });
  const found = hosts.find((one) => one.host === host)!;
  return { ...found, texts: found.findings.map(({ text }) => text) };
}

test("a host that is saved as expected is well; half a day after it was due it is silent", async () => {
  const database = await fleet(["web"]);
  await snapshot(database, "web", START_MS);
  const soon = await statusOf(database, START_MS + 35 * HOUR_MS, "web");
  assert.deepEqual([soon.health, soon.snapshots, soon.lastSnapshotMs], ["ok", 1, START_MS]);
  assert.ok(soon.nextRunMs! >= START_MS + 6 * HOUR_MS && soon.nextRunMs! <= START_MS + 30 * HOUR_MS);
  const late = await statusOf(database, START_MS + 37 * HOUR_MS, "web");
  assert.equal(late.health, "alarm");
  assert.match(late.texts[0], /silent/);
});

test("a host that never saved anything is an alarm in the end, one that has not enrolled a warning", async () => {
  const database = await fleet(["web"]);
  await addHost(
    database,
    { name: "later", account: "default", policy: "default", keyMode: "full", quota: {} },
    START_MS,
  );
  assert.match((await statusOf(database, START_MS + 40 * HOUR_MS, "web")).texts[0], /never saved/);
  const later = await statusOf(database, START_MS + 40 * HOUR_MS, "later");
  assert.deepEqual([later.health, later.nextRunMs], ["warning", undefined]);
});

for (const [what, end, expected] of [
  ["failed", { state: "failed", error: "disc gone" }, /disc gone/],
  ["was refused", { state: "refused", error: "too soon" }, /refused: too soon/],
  ["stored far too much", { state: "succeeded", snapshot: "s", suddenGrowth: true }, /far more than usual/],
] as const) {
  test(`a last run that ${what} is told, until a better one comes`, async () => {
    const database = await fleet(["web"]);
    await snapshot(database, "web", START_MS);
    await endRun(database, await beginRun(database, 1, START_MS + 1), end, START_MS + 2);
    const { health, texts } = await statusOf(database, START_MS + HOUR_MS, "web");
    assert.equal(health, "warning");
    assert.match(texts.join(), expected);
    await endRun(database, await beginRun(database, 1, START_MS + 3), { state: "succeeded" }, START_MS + 4);
    assert.equal((await statusOf(database, START_MS + HOUR_MS, "web")).health, "ok");
  });
}

test("suspension, a new key, an incomplete snapshot and a failed drill show", async () => {
  const database = await fleet(["web", "mail"]);
  await snapshot(database, "web", START_MS, 0);
  await offerKeys(database, "web", keysOf("other"));
  await editHost(database, "mail", { suspended: true });
  const drill = { account_id: 1, host: "web", kind: "drill", detail: "{}", started_ms: 1, ended_ms: 2 } as const;
  await database
    .insertInto("maintenance")
    .values({ ...drill, state: "succeeded" })
    .execute();
  await database
    .insertInto("maintenance")
    .values({ ...drill, state: "failed", error: "f is gone" })
    .execute();
  const web = await statusOf(database, START_MS + HOUR_MS, "web");
  assert.match(web.texts.join("\n"), /^the last drill: f is gone\n.*waits for approval\n.*could not be read$/);
  assert.equal(web.provenMs, 2);
  assert.deepEqual((await statusOf(database, START_MS + HOUR_MS, "mail")).texts, ["it is suspended"]);
});

test("with 100,000 snapshots, status and a host's snapshots take less than a fifth of a second", async () => {
  const hosts = Array.from({ length: 200 }, (_, number) => `host${number}`);
  const database = await fleet(hosts);
  const sums = { files: 1, size_bytes: 1, added_bytes: 1, stored_bytes: 1, verified_ms: null, signer: "x".repeat(44) };
  await database.transaction().execute(async (transaction) => {
    for (let day = 0; day < 500; day++) {
      const rows = hosts.map((host) => {
        const id = Buffer.from(`${host}/${day}`).toString("hex").padEnd(64, "0");
        return {
          id,
          account_id: 1,
          host,
          time_ms: START_MS + day * 24 * HOUR_MS,
          group_id: "g".repeat(32),
          complete: 1,
          ...sums,
        };
      });
      await transaction.insertInto("snapshots").values(rows).execute();
    }
  });
  const nowMs = START_MS + 500 * 24 * HOUR_MS;
  const took: Record<string, number> = {};
  for (const [what, ask] of Object.entries({
    status: () => fleetStatus(database, { nowMs, measure }),
    ofOneHost: () => listCatalogue(database, { host: "host7" }),
    latest: () => listCatalogue(database, { limit: 1000 }),
  })) {
    await ask();
    // Processor time, as others may be at work on the same machine, and the best of some, as the compiler is too.
    took[what] = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < 3; attempt++) {
      const before = process.cpuUsage();
      await ask();
      const { user, system } = process.cpuUsage(before);
      took[what] = Math.min(took[what], (user + system) / 1000);
    }
  }
  assert.ok(Math.max(...Object.values(took)) < 200, JSON.stringify(took));
});
