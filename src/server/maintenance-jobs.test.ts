import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { readEverything } from "../../test/support/library-repository.ts";
import { openAccountRepository } from "../fleet/accounts.ts";
import { admitBackup } from "../fleet/admission.ts";
import { listCatalogue } from "../fleet/catalogue.ts";
import { findHost } from "../fleet/hosts.ts";
import {
  backUp,
  DAY_MS,
  enrolledHost,
  setPolicy,
  START_MS,
  testFleet,
  type TestFleet,
} from "../fleet/testing/fleet.ts";
import { RefusedError } from "../errors.ts";
import { checkRepository } from "../repository/check.ts";
import { createFleetCatalogue } from "./fleet-catalogue.ts";
import { listMaintenance, runJob, type JobContext, type MaintenanceJob } from "./maintenance-jobs.ts";

const MIB = 1024 * 1024;

function jobs(fleet: TestFleet, more: Partial<JobContext> = {}) {
  const { database, folder, created } = fleet;
  const plenty = () => ({ totalBytes: 1e12, freeBytes: 9e11 });
  const context = { database, dataFolder: folder, nowMs: () => START_MS + 60 * DAY_MS, measure: plenty, ...more };
  return (job: Partial<MaintenanceJob>) =>
    runJob(context, created.account, { account: "default", ...job } as MaintenanceJob);
}

async function assertSound(fleet: TestFleet): Promise<void> {
  const repository = await openAccountRepository(fleet.folder, fleet.created.account);
  const problems: string[] = [];
  await checkRepository({
    ...repository,
    readData: { kind: "all" },
    onProblem: ({ severity, object, message }) => {
      if (severity === "error") problems.push(`${object}: ${message}`);
    },
  });
  assert.deepEqual(problems, []);
  await readEverything(repository);
  await repository.storage.close();
}

/** Days of backups, each with a file of its own of so many bytes. */
async function history(t: TestContext, fleet: TestFleet, host: string, days: number, bytes: number): Promise<string[]> {
  const ids: string[] = [];
  for (let day = 0; day < days; day++) {
    const files = { always: `of ${host}`, changing: randomBytes(bytes) };
    ids.push(await backUp(t, fleet, { host, atMs: START_MS + day * DAY_MS, files }));
  }
  return ids;
}

test("age lets go what is too old and frees its space; what another host stored stays that host's", async (t) => {
  const fleet = await testFleet(t);
  await setPolicy(fleet, "short", { retention: { kind: "age", days: 56 }, floorNewest: 1 });
  await enrolledHost(fleet, "web", { policy: "short" });
  await enrolledHost(fleet, "mail");
  const [first, , , last] = await history(t, fleet, "web", 8, 200_000).then(
    (ids) => [ids[0], 0, 0, ids[7]] as string[],
  );
  const mail = await history(t, fleet, "mail", 10, 100_000);
  const { state, detail, error } = await jobs(fleet)({ kind: "retention" });
  assert.equal(error, undefined);
  assert.equal(state, "succeeded");
  // Of days 0 to 7, on day 60: those of days 0 to 3 are older than 56 days.
  assert.deepEqual((detail as { forgotten: object }).forgotten, { policy: 4 });
  const standing = (await listCatalogue(fleet.database)).map(({ id }) => id);
  assert.equal(standing.includes(first), false);
  assert.equal(standing.includes(last), true);
  assert.ok(mail.every((id) => standing.includes(id)));
  await assertSound(fleet);

  const { id: accountId, storageUrl } = fleet.created.account;
  const catalogue = createFleetCatalogue(fleet.database, accountId, async () => undefined);
  const present = new Set(
    readdirSync(path.join(storageUrl, "packs"), { recursive: true, encoding: "utf8" })
      .map((name) => name.slice(3))
      .filter(Boolean),
  );
  const owned = [...(await catalogue.packsOf("web")).keys(), ...(await catalogue.packsOf("mail")).keys()];
  assert.deepEqual(new Set(owned), present);
  assert.equal(owned.length, present.size);
  const [web, mailHost] = [await findHost(fleet.database, "web"), await findHost(fleet.database, "mail")];
  assert.ok(web.usedBytes > 4 * 200_000 && web.usedBytes < 5 * 200_000, `${web.usedBytes}`);
  assert.ok(mailHost.usedBytes > 1_000_000 && mailHost.usedBytes < 1_200_000, `${mailHost.usedBytes}`);
});

test("many small packs are merged for each host by itself", async (t) => {
  const fleet = await testFleet(t);
  await enrolledHost(fleet, "a");
  await enrolledHost(fleet, "b");
  for (const host of ["a", "b"]) await history(t, fleet, host, 17, 1000);
  await jobs(fleet)({ kind: "retention" });
  const catalogue = createFleetCatalogue(fleet.database, fleet.created.account.id, async () => undefined);
  // Two kinds of frames, and what was condemned may not be written yet.
  assert.ok((await catalogue.packsOf("a")).size <= 2);
  assert.ok((await catalogue.packsOf("b")).size <= 2);
  await assertSound(fleet);
});

test("a full disc takes the tail of importance and spares the floor; when nothing is left to take, it says so", async (t) => {
  const fleet = await testFleet(t);
  await setPolicy(fleet, "default", { floorNewest: 2, floorDays: 1 });
  await enrolledHost(fleet, "web");
  const ids = await history(t, fleet, "web", 10, MIB);
  // Of a disc of 40 MiB, 4 % are free; 10 % have to be.
  const measure = () => ({ totalBytes: 40 * MIB, freeBytes: 1.6 * MIB });
  const run = jobs(fleet, { measure });
  const { state, detail } = await run({ kind: "retention" });
  assert.equal(state, "succeeded");
  const { forgotten, freedBytes } = detail as { forgotten: { space: number }; freedBytes: number };
  assert.ok(forgotten.space >= 2 && forgotten.space <= 4, `${forgotten.space}`);
  assert.ok(freedBytes >= 2 * MIB);
  await assertSound(fleet);

  const full = await jobs(fleet, { measure: () => ({ totalBytes: 40 * MIB, freeBytes: 0 }) })({ kind: "retention" });
  assert.equal(full.state, "succeeded");
  for (let time = 0; time < 5; time++)
    await jobs(fleet, { measure: () => ({ totalBytes: 40 * MIB, freeBytes: 0 }) })({ kind: "retention" });
  const standing = (await listCatalogue(fleet.database)).map(({ id }) => id);
  assert.deepEqual(standing, ids.slice(-2).toReversed());
  const last = (await listMaintenance(fleet.database, 1))[0];
  assert.equal(last.state, "failed");
  assert.match(last.error!, /protected by the floor/);
  const host = await findHost(fleet.database, "web");
  await assert.rejects(
    admitBackup(fleet.database, host, START_MS + 90 * DAY_MS, () => ({ totalBytes: 40 * MIB, freeBytes: 0 })),
    (error) => {
      assert.ok(error instanceof RefusedError);
      assert.match(error.message, /disc is full/);
      return true;
    },
  );
  await assertSound(fleet);
});

test("quotas: above the soft one the host's own go, above the hard one it is refused; others are not touched", async (t) => {
  const fleet = await testFleet(t);
  await setPolicy(fleet, "default", { floorNewest: 1, floorDays: 0 });
  await enrolledHost(fleet, "greedy", { quota: { softBytes: 3 * MIB, hardBytes: 5 * MIB } });
  await enrolledHost(fleet, "modest");
  await history(t, fleet, "greedy", 6, MIB);
  await history(t, fleet, "modest", 3, MIB);
  const run = jobs(fleet);
  // First what is used must be counted.
  await run({ kind: "retention" });
  const before = await findHost(fleet.database, "greedy");
  assert.ok(before.usedBytes > 6 * MIB);
  const later = START_MS + 90 * DAY_MS;
  await assert.rejects(admitBackup(fleet.database, before, later), /used up its quota/);
  const modest = await findHost(fleet.database, "modest");
  assert.ok((await admitBackup(fleet.database, modest, later)).allowedBytes > 0);
  await run({ kind: "retention" });
  const after = await findHost(fleet.database, "greedy");
  assert.ok(after.usedBytes <= 3 * MIB);
  assert.ok((await admitBackup(fleet.database, after, later)).allowedBytes <= 5 * MIB - after.usedBytes);
  assert.equal((await listCatalogue(fleet.database, { host: "modest" })).length, 3);
});

test("a check reads all parts in turn, marks what it proved, and names damage", async (t) => {
  const fleet = await testFleet(t);
  await enrolledHost(fleet, "web");
  await history(t, fleet, "web", 3, 300_000);
  const run = jobs(fleet);
  const outcomes = [];
  for (const part of [1, 2, 3]) outcomes.push(await run({ kind: "check", part, of: 3 }));
  assert.ok(outcomes.every(({ state }) => state === "succeeded"));
  const packs = readdirSync(path.join(fleet.created.account.storageUrl, "packs"), {
    recursive: true,
    encoding: "utf8",
  }).filter((name) => name.length > 60);
  assert.equal(
    outcomes.reduce((sum, { detail }) => sum + (detail as { packsRead: number }).packsRead, 0),
    packs.length,
  );
  assert.ok((await listCatalogue(fleet.database)).every(({ verified }) => verified));

  const file = path.join(fleet.created.account.storageUrl, "packs", packs[0]);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] ^= 1;
  chmodSync(file, 0o600);
  writeFileSync(file, bytes);
  const { state, error } = await run({ kind: "check", part: 1, of: 1 });
  assert.equal(state, "failed");
  assert.match(error!, new RegExp(packs[0].slice(3, 20)));
});

test("a drill proves a host's snapshot, and a blind server tells that it can't", async (t) => {
  const fleet = await testFleet(t);
  await enrolledHost(fleet, "web");
  await history(t, fleet, "web", 1, 1000);
  assert.equal((await jobs(fleet)({ kind: "drill", host: "web" })).state, "succeeded");
  assert.ok((await listCatalogue(fleet.database))[0].verified);
  const blind = await testFleet(t, { keyMode: "owner" });
  await enrolledHost(blind, "web", { keyMode: "write-only" });
  await history(t, blind, "web", 1, 1000);
  const { state, error } = await jobs(blind)({ kind: "drill", host: "web" });
  assert.equal(state, "failed");
  assert.match(error!, /not read/);
  // What needs no key it does all the same.
  assert.equal((await jobs(blind)({ kind: "check", part: 1, of: 1 })).state, "succeeded");
  assert.equal((await jobs(blind)({ kind: "retention" })).state, "succeeded");
});

test("a repository that hosts wrote to together is pruned as one, and nothing that anybody needs goes", async (t) => {
  const fleet = await testFleet(t);
  await enrolledHost(fleet, "a");
  await enrolledHost(fleet, "b");
  const shared = randomBytes(300_000);
  await setPolicy(fleet, "default", { retention: { kind: "age", days: 10 }, floorNewest: 1, floorDays: 0 });
  await backUp(t, fleet, { host: "a", atMs: START_MS, files: { shared } });
  await backUp(t, fleet, { host: "b", atMs: START_MS + 1, files: { shared, own: "b" } });
  await backUp(t, fleet, { host: "a", atMs: START_MS + 2, files: { other: randomBytes(1000) } });
  const { state } = await jobs(fleet)({ kind: "retention" });
  assert.equal(state, "succeeded");
  assert.equal((await listCatalogue(fleet.database)).length, 2);
  await assertSound(fleet);
});
