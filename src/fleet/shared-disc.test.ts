import assert from "node:assert/strict";
import { test } from "node:test";
import { spaceThresholds } from "../retention/space.ts";
import { findAccount, recordAccount } from "./accounts.ts";
import { openMemoryDatabase, type Database } from "./database/open.ts";
import { addHost } from "./hosts.ts";
import { DEFAULT_POLICY, savePolicy } from "./policies.ts";
import { neededOf } from "./shared-disc.ts";
import { START_MS } from "./testing/fleet.ts";

const GB = 1e9;
const room = { totalBytes: 100 * GB, freeBytes: GB, thresholds: spaceThresholds(100 * GB, []), fairShareBytes: GB };

/** Accounts by name, with what each of their hosts uses. */
async function accounts(hosts: Readonly<Record<string, readonly number[]>>): Promise<Database> {
  const database = openMemoryDatabase();
  await savePolicy(database, "default", DEFAULT_POLICY);
  for (const [account, used] of Object.entries(hosts)) {
    const kept = { storageUrl: `/${account}`, keyMode: "server", quota: {}, createdMs: START_MS } as const;
    await recordAccount(database, { name: account, ...kept });
    for (const [number, bytes] of used.entries()) {
      const name = `${account}${number}`;
      await addHost(database, { name, account, policy: "default", keyMode: "full", quota: {} }, START_MS);
      await database.updateTable("hosts").set({ used_bytes: bytes }).where("name", "=", name).execute();
    }
  }
  return database;
}

async function needOf(database: Database, name: string, garbageBytes = 0, discs: Record<string, string> = {}) {
  const measure = (account: { readonly name: string }) => ({ ...room, disc: discs[account.name] ?? "sda" });
  return neededOf(database, await findAccount(database, name), room, garbageBytes, measure, START_MS);
}

async function retained(database: Database, account: string, detail: object): Promise<void> {
  const { id } = await findAccount(database, account);
  const row = {
    account_id: id,
    kind: "retention",
    state: "succeeded",
    started_ms: START_MS - 1000,
    ended_ms: 1,
  } as const;
  await database
    .insertInto("maintenance")
    .values({ ...row, detail: JSON.stringify(detail) })
    .execute();
}

test("an account that has the disc for itself gives all that is needed, less what it has forgotten", async () => {
  const database = await accounts({ one: [60 * GB] });
  assert.equal(await needOf(database, "one"), 9 * GB);
  assert.equal(await needOf(database, "one", 2 * GB), 7 * GB);
  assert.equal(await needOf(database, "one", 5 * GB), 0);
});

test("of several on one disc the one gives that uses most for each host, whatever it is called", async () => {
  const database = await accounts({ alpha: [10 * GB, 10 * GB, 10 * GB], beta: [10 * GB], zeta: [40 * GB] });
  assert.deepEqual(await Promise.all(["alpha", "beta", "zeta"].map((name) => needOf(database, name))), [0, 0, 9 * GB]);
});

test("equals give equally, and what others have forgotten is not asked for again", async () => {
  const database = await accounts({ alpha: [30 * GB], beta: [30 * GB] });
  assert.deepEqual([await needOf(database, "alpha"), await needOf(database, "beta")], [4.5 * GB, 4.5 * GB]);
  await retained(database, "alpha", { onTheirWayBytes: 3 * GB });
  assert.equal(await needOf(database, "beta"), 3 * GB);
  await retained(database, "alpha", { onTheirWayBytes: 5 * GB });
  assert.equal(await needOf(database, "beta"), 0);
});

test("one whose floor protects all that it has is left out, and the others make room", async () => {
  const database = await accounts({ alpha: [80 * GB], beta: [15 * GB] });
  assert.equal(await needOf(database, "beta"), 0);
  await retained(database, "alpha", { lackingBytes: 9 * GB });
  assert.equal(await needOf(database, "beta"), 9 * GB);
});

test("an account on another disc has nothing to do with it", async () => {
  const database = await accounts({ alpha: [80 * GB], beta: [15 * GB] });
  assert.equal(await needOf(database, "beta", 0, { alpha: "sdb" }), 9 * GB);
});
