import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { openRemoteStorage } from "../../src/agent/remote-storage.ts";
import { ObjectMissingError, RefusedError, WriteOnlyError } from "../../src/errors.ts";
import { PREFIXES } from "../../src/format/names.ts";
import { prune } from "../../src/repository/prune.ts";
import { openRepository } from "../../src/repository/repository.ts";
import { listRunning } from "../../src/repository/running.ts";
import { listSnapshots } from "../../src/repository/snapshots.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { checkoutFolder } from "../support/holdfast.ts";
import { readEverything } from "../support/library-repository.ts";
import { removeTree, temporaryFolder } from "../support/temporary-folder.ts";
import { createTestFleet, runBackup, type TestFleet, type TestHost } from "./test-fleet.ts";

function folderOfFiles(t: Parameters<typeof temporaryFolder>[0], files: number, bytesEach = 5000): string {
  const folder = temporaryFolder(t);
  fillFolder(folder, files, bytesEach);
  return folder;
}

function fillFolder(folder: string, files: number, bytesEach = 5000): void {
  for (let number = 0; number < files; number++) {
    const place = path.join(folder, `d${number % 20}`);
    mkdirSync(place, { recursive: true });
    writeFileSync(path.join(place, `f${number}`), randomBytes(bytesEach));
  }
}

function openToRead(fleet: TestFleet, host: TestHost) {
  return openRemoteStorage({
    connect: () => fleet.connect(host.name),
    location: "server",
    purpose: "read",
    program: "test agent",
    retryDelaysMs: [],
  });
}

async function namesOf(storage: Storage, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of storage.list(prefix)) names.push(name);
  return names.sort();
}

/** The server removes its note of a run when the agent has gone. */
async function untilNobodyRuns(fleet: TestFleet): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if ((await listRunning(fleet.storage)).running.length === 0) return;
    await wait(20);
  }
  assert.fail("a note is left of a run that has ended");
}

test("saves two hosts at once, each of which reads back its own and sees nothing of the other", async (t) => {
  const fleet = await createTestFleet(t);
  const [web, db] = [fleet.addHost("web1"), fleet.addHost("db1")];
  const folders = [folderOfFiles(t, 200), folderOfFiles(t, 200)];
  const [ofWeb, ofDb] = await Promise.all([runBackup(fleet, web, folders[0]), runBackup(fleet, db, folders[1])]);

  const everything = await readEverything(await openRepository(fleet.storage, { ring: fleet.owner.ring }));
  assert.equal(everything.size, 2);
  for (const [host, run] of [[web, ofWeb] as const, [db, ofDb] as const]) {
    const remote = await openToRead(fleet, host);
    const seen = await readEverything(await openRepository(remote, { ring: fleet.owner.ring }));
    assert.deepEqual([...seen.keys()], [run.result.snapshotId]);
    assert.deepEqual(seen.get(run.result.snapshotId), everything.get(run.result.snapshotId));
    for (const prefix of [PREFIXES.pack, PREFIXES.index]) {
      const own = await namesOf(remote, prefix);
      const all = await namesOf(fleet.storage, prefix);
      assert.ok(own.length > 0 && own.length < all.length);
      const foreign = all.find((name) => !own.includes(name))!;
      assert.equal(await remote.stat(foreign), undefined);
      await assert.rejects(remote.get(foreign), ObjectMissingError);
    }
    assert.deepEqual(await namesOf(remote, PREFIXES.key), []);
    await remote.close();
  }
  await untilNobodyRuns(fleet);
  assert.deepEqual(fleet.faults, []);
});

test("pays the line's delay about four times for a run without a change", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1");
  // Not below /tmp, whose own time changes whenever anybody puts something there.
  const folder = mkdtempSync(path.join(checkoutFolder, "node_modules/.test-"));
  t.after(() => removeTree(folder));
  fillFolder(folder, 100);
  // Files that change while they are walked prove nothing by their times.
  await wait(2100);
  await runBackup(fleet, host, folder);
  for (let round = 0; round < 2; round++) {
    fleet.clock.nowMs += 60_000;
    const { remote, result } = await runBackup(fleet, host, folder);
    assert.equal(result.files.unmodified, 100);
    assert.ok(remote.traffic.requests <= 5, `${remote.traffic.requests} requests one after another`);
    const bytes = remote.traffic.sentBytes + remote.traffic.receivedBytes;
    assert.ok(bytes < 6000, `${bytes} bytes for nothing new`);
  }
});

test("sends little more than what has changed", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1");
  const folder = folderOfFiles(t, 2000, 300);
  await runBackup(fleet, host, folder);
  fleet.clock.nowMs += 60_000;
  appendFileSync(path.join(folder, "d7", "f7"), randomBytes(20_000));
  const { remote } = await runBackup(fleet, host, folder);
  assert.ok(remote.traffic.sentBytes < 20_000 + 25_000, `${remote.traffic.sentBytes} bytes were sent`);
});

test("goes on with a run whose connection breaks again and again, and does not take the time anew", async (t) => {
  const fleet = await createTestFleet(t, { delayMs: 1 });
  const host = fleet.addHost("web1");
  const folder = folderOfFiles(t, 60, 1_000_000);
  const timer = setInterval(() => fleet.cut(), 400);
  t.after(() => clearInterval(timer));
  const retryDelaysMs = Array.from({ length: 200 }, () => 5);
  const { result, remote } = await runBackup(fleet, host, folder, {
    retryDelaysMs,
    uploadBytesPerSecond: 40 * 1024 * 1024,
  });
  clearInterval(timer);
  assert.ok(remote.traffic.connections > 2, `${remote.traffic.connections} connections`);
  assert.equal(result.timeMs, remote.server.startedMs);
  const [record] = await listSnapshots(fleet.owner);
  assert.equal(record.timeMs, remote.server.startedMs);
  assert.equal((await readEverything(fleet.owner)).size, 1);
  await untilNobodyRuns(fleet);
});

test("goes on with a run when the server was started anew meanwhile", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1");
  const remote = await openRemoteStorage({
    connect: () => fleet.connect(host.name),
    location: "server",
    purpose: "backup",
    program: "test agent",
    retryDelaysMs: [5, 5, 5],
  });
  const { startedMs } = remote.server;
  fleet.cut();
  await fleet.options.sessions.close();
  fleet.clock.nowMs += 3_600_000;
  const { createHostSessions } = await import("../../src/server/host-sessions.ts");
  let began: number | undefined;
  const sessions = createHostSessions(
    undefined,
    { began: (report) => (began = report.startedMs) },
    () => fleet.clock.nowMs,
  );
  (fleet.options as { sessions: typeof sessions }).sessions = sessions;
  assert.deepEqual(await namesOf(remote, PREFIXES.snapshot), []);
  assert.deepEqual(await namesOf(remote, PREFIXES.snapshot), []);
  assert.equal(began, startedMs);
  await remote.close();
});

test("lets a write-only host store and go on, but hands it no frames", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1", { mode: "write-only" });
  const folder = folderOfFiles(t, 50);
  await runBackup(fleet, host, folder);
  // As if the run had broken off before its index: its packs are taken in from their directories.
  for (const name of await namesOf(fleet.storage, PREFIXES.index)) await fleet.storage.delete(name);
  fleet.clock.nowMs += 60_000;
  const second = await runBackup(fleet, host, folder, { cacheFolder: undefined });
  // Trees may change: others make and remove files beside the folder, in /tmp.
  assert.equal(second.result.dataBlobs, 0);

  const remote = await openToRead(fleet, host);
  t.after(() => remote.close());
  const large = fleet.storage;
  let refused = 0;
  for (const name of await namesOf(remote, PREFIXES.pack)) {
    const { sizeBytes } = (await large.stat(name))!;
    await remote.get(name, { offset: sizeBytes - 32, length: 32 });
    // Of a small one all lies where directories are looked for: what changed of the trees, say.
    if (sizeBytes < 100_000) continue;
    await assert.rejects(remote.get(name), WriteOnlyError);
    await assert.rejects(remote.get(name, { offset: 24, length: 1000 }), WriteOnlyError);
    refused++;
  }
  assert.ok(refused > 0);
});

test("keeps a pack that is condemned during a run, when the run needs it", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1");
  const folder = folderOfFiles(t, 50);
  const first = await runBackup(fleet, host, folder);
  await fleet.storage.delete(PREFIXES.snapshot + first.result.snapshotId);

  fleet.clock.nowMs += 60_000;
  // Between the hello and the listing of packs that comes with it, and the commit.
  const put = fleet.storage.put.bind(fleet.storage);
  let pruned = false;
  fleet.storage.put = async (name, content) => {
    if (!pruned && name.startsWith(PREFIXES.pack)) {
      pruned = true;
      const outcome = await prune(fleet.owner);
      assert.ok(outcome.waitingPacks > 0, "the run's note keeps the packs");
    }
    return put(name, content);
  };
  writeFileSync(path.join(folder, "new"), "new content");
  await runBackup(fleet, host, folder);
  assert.ok(pruned);
  fleet.storage.put = put;
  await prune(fleet.owner);
  assert.equal((await readEverything(await openRepository(fleet.storage, { ring: fleet.owner.ring }))).size, 1);
});

test("keeps the hosts' clocks out of it: the snapshot bears the time of the server", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1");
  fleet.clock.nowMs = Date.parse("2031-05-06T07:08:09.123Z");
  const { result } = await runBackup(fleet, host, folderOfFiles(t, 3));
  assert.equal(new Date(result.timeMs).toISOString(), "2031-05-06T07:08:09.123Z");
});

test("refuses a second snapshot before its interval has passed, at the beginning of the run", async (t) => {
  const fleet = await createTestFleet(t);
  const host = fleet.addHost("web1", { minimumIntervalMs: 3_600_000 });
  const folder = folderOfFiles(t, 3);
  await runBackup(fleet, host, folder);
  fleet.clock.nowMs += 3_599_000;
  await assert.rejects(runBackup(fleet, host, folder), (error: RefusedError) => {
    assert.ok(error instanceof RefusedError);
    assert.match(error.hint ?? "", /^the next may begin at 20/);
    return true;
  });
  fleet.clock.nowMs += 1000;
  await runBackup(fleet, host, folder);
  // A clock that was set back does not let snapshots pile up before the last.
  fleet.clock.nowMs -= 86_400_000;
  await assert.rejects(runBackup(fleet, host, folder), RefusedError);
});
