import assert from "node:assert/strict";
import { readdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { UsageError, WrongPasswordError } from "../errors.ts";
import { openAccountRepository } from "./accounts.ts";
import { adoptRepository, rebuildFromDataFolder } from "./adopt.ts";
import { listCatalogue } from "./catalogue.ts";
import { dataFile } from "./data-folder.ts";
import { openDatabase } from "./database/open.ts";
import { editHost, findHost, listHosts } from "./hosts.ts";
import { findPolicy } from "./policies.ts";
import {
  decodeSettings,
  encodeSettings,
  findSettings,
  saveSettings,
  SETTINGS_PREFIX,
  type SavedSettings,
} from "./saved-settings.ts";
import { backUp, enrolledHost, keysOf, setPolicy, START_MS, testFleet, type TestFleet } from "./testing/fleet.ts";

const NOW = new Date(START_MS + 1e9);

async function withHosts(
  t: Parameters<typeof testFleet>[0],
  keyMode: "server" | "owner" = "server",
): Promise<TestFleet> {
  const fleet = await testFleet(t, { keyMode, quota: { hardBytes: 1e9 } });
  await setPolicy(fleet, "often", { schedule: "hourly", floorNewest: 9 });
  const mayRead = keyMode === "server" ? "full" : "write-only";
  await enrolledHost(fleet, "web", { policy: "often", quota: { softBytes: 5, hardBytes: 7 }, keyMode: mayRead });
  await enrolledHost(fleet, "mail", { keyMode: "write-only" });
  await editHost(fleet.database, "mail", { suspended: true });
  await backUp(t, fleet, { host: "web", atMs: START_MS, files: { a: "1" } });
  await save(fleet);
  return fleet;
}

async function save({ folder, database, created: { account } }: TestFleet): Promise<boolean> {
  const repository = await openAccountRepository(folder, account);
  try {
    return await saveSettings(database, account, repository, NOW);
  } finally {
    await repository.storage.close();
  }
}

test("a server comes back from the repository and the recovery key alone", async (t) => {
  const before = await withHosts(t);
  const elsewhere = path.join(temporaryFolder(t), "found");
  renameSync(before.created.account.storageUrl, elsewhere);
  await before.database.destroy();
  rmSync(before.folder, { recursive: true });

  const folder = temporaryFolder(t);
  const { database } = openDatabase(dataFile.database(folder), NOW.getTime());
  const request = { storageUrl: elsewhere, unlock: { identities: [before.created.recoveryIdentity] } };
  const adoption = await adoptRepository(database, folder, request, NOW);
  assert.deepEqual(
    { ...adoption, account: adoption.account.name },
    {
      account: "default",
      settings: "private",
      hosts: ["mail", "web"],
      hostsToApprove: [],
      snapshots: 1,
      damagedSnapshots: [],
    },
  );
  const web = await findHost(database, "web");
  assert.deepEqual(web.keys, keysOf("web"));
  assert.deepEqual([web.state, web.policy, web.quota], ["active", "often", { softBytes: 5, hardBytes: 7 }]);
  const mail = await findHost(database, "mail");
  assert.deepEqual([mail.state, mail.keyMode], ["suspended", "write-only"]);
  assert.equal((await findPolicy(database, "often")).floorNewest, 9);
  assert.deepEqual(adoption.account.quota, { hardBytes: 1e9 });
  assert.equal((await listCatalogue(database, { host: "web" })).length, 1);
  // It goes on: what the new server keeps opens the repository.
  const repository = await openAccountRepository(folder, adoption.account);
  assert.ok(repository.ring.privateKey);
  await database.destroy();
});

test("a blind server stays blind, and hosts whose keys any writer could have stored wait for approval", async (t) => {
  const before = await withHosts(t, "owner");
  const folder = temporaryFolder(t);
  const { database } = openDatabase(dataFile.database(folder), NOW.getTime());
  const request = {
    storageUrl: before.created.account.storageUrl,
    unlock: { identities: [before.created.recoveryIdentity] },
  };
  const adoption = await adoptRepository(database, folder, request, NOW);
  assert.deepEqual([adoption.settings, adoption.hostsToApprove], ["writer", ["web"]]);
  assert.equal((await openAccountRepository(folder, adoption.account)).ring.privateKey, undefined);
  await database.destroy();
});

test("a repository that was never a server's is adopted with the hosts of its snapshots, which have to enrol", async (t) => {
  const before = await testFleet(t);
  await enrolledHost(before, "lone");
  await backUp(t, before, { host: "lone", atMs: START_MS, files: { a: "1" } });
  const folder = temporaryFolder(t);
  const { database } = openDatabase(dataFile.database(folder), NOW.getTime());
  const { storageUrl } = before.created.account;
  const wrong = { storageUrl, unlock: { passphrase: "guess" } };
  await assert.rejects(adoptRepository(database, folder, wrong, NOW), WrongPasswordError);
  const request = { storageUrl, unlock: { identities: [before.created.recoveryIdentity] }, name: "old" };
  const { account, settings, hosts } = await adoptRepository(database, folder, request, NOW);
  assert.deepEqual([account.name, settings, hosts], ["old", "none", ["lone"]]);
  assert.equal((await findHost(database, "lone")).state, "new");
  await assert.rejects(adoptRepository(database, folder, request, NOW), UsageError);
  await database.destroy();
});

test("a lost database is filled again from the data folder, and a second time nothing happens", async (t) => {
  const before = await withHosts(t);
  await before.database.destroy();
  for (const ending of ["", "-wal", "-shm"]) rmSync(dataFile.database(before.folder) + ending, { force: true });
  const { database } = openDatabase(dataFile.database(before.folder), NOW.getTime());
  const [rebuilt] = await rebuildFromDataFolder(database, before.folder, NOW);
  assert.equal(rebuilt.problem, undefined);
  assert.deepEqual(
    (await listHosts(database)).map(({ name, state }) => [name, state]),
    [
      ["mail", "suspended"],
      ["web", "active"],
    ],
  );
  assert.deepEqual(await rebuildFromDataFolder(database, before.folder, NOW), []);
  await database.destroy();
});

test("settings are stored when they change, once, and the earlier ones go", async (t) => {
  const fleet = await withHosts(t);
  const objects = () => readdirSync(path.join(fleet.created.account.storageUrl, SETTINGS_PREFIX));
  const [first] = objects();
  assert.equal(await save(fleet), false);
  assert.deepEqual(objects(), [first]);
  await editHost(fleet.database, "web", { quota: { softBytes: 6 } });
  assert.equal(await save(fleet), true);
  assert.equal(objects().length, 1);
  assert.notEqual(objects()[0], first);
  const { storage, ring } = await openAccountRepository(fleet.folder, fleet.created.account);
  const found = await findSettings(storage, ring);
  assert.equal(found?.settings.version, 2);
  assert.deepEqual(found.settings.hosts.find(({ name }) => name === "web")?.quota, { softBytes: 6 });
});

test("settings that were altered, or are of another key, are refused by name", async (t) => {
  const fleet = await withHosts(t);
  const { ring } = await openAccountRepository(fleet.folder, fleet.created.account);
  const settings: SavedSettings = {
    version: 3,
    time: NOW.toISOString(),
    account: { name: "default", keyMode: "server", quota: {}, createdMs: 1 },
    policies: [],
    hosts: [],
  };
  const good = encodeSettings(settings, ring);
  assert.deepEqual(decodeSettings(good, ring), { settings, sealedBy: "private" });
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at] ^= 1;
    assert.throws(() => decodeSettings(bad, ring, "these"), /these/);
    assert.throws(() => decodeSettings(good.subarray(0, at), ring, "these"), /these/);
  }
  // A host has the writer's secret, but what it makes never passes for what the private key made.
  const forged = encodeSettings({ ...settings, version: 99 }, { ...ring, privateKey: undefined });
  assert.equal(decodeSettings(forged, ring).sealedBy, "writer");
});
