import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { hostname } from "node:os";
import { mock, test } from "node:test";
import { LockedError } from "../errors.ts";
import { PREFIXES } from "../format/names.ts";
import { decodeRunning, encodeRunning, type Running } from "../format/running.ts";
import { discFull, faultyStorage } from "../storage/faulty.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import { listRunning, notePruning, noteRunning, removeNotes, STALE_NOTE_MS } from "./running.ts";

function notesIn(storage: MemoryStorage): string[] {
  return [...storage.objects.keys()].filter((name) => name.startsWith(PREFIXES.running));
}

let noteCount = 0;

/** A note of somebody else's. */
function put(storage: MemoryStorage, note: Partial<Running>, modifiedMs = Date.now()): string {
  const name = `${PREFIXES.running}${String(++noteCount).padStart(32, "a")}`;
  const started = new Date(modifiedMs).toISOString();
  const bytes = encodeRunning({ host: "elsewhere", process: 7, started, what: "backup", ...note });
  storage.objects.set(name, { bytes, modifiedMs });
  return name;
}

/** The id of a process that has just ended. */
function deadProcess(): number {
  return spawnSync("true").pid;
}

test("a note says who is writing, for as long as they do", async () => {
  const storage = memoryStorage();
  const note = await noteRunning(storage, "backup");
  const [name] = notesIn(storage);
  const { host, process: id, what } = decodeRunning(storage.objects.get(name)!.bytes);
  assert.deepEqual([host, id, what], [hostname(), process.pid, "backup"]);
  assert.equal((await listRunning(storage)).running.length, 1);
  assert.equal(await note.isThere(), true);
  await note.remove();
  assert.deepEqual(notesIn(storage), []);
  assert.deepEqual(await listRunning(storage), { running: [], leftBehind: [] });
});

test("a note is renewed every hour, as one of the same run, and never missing in between", async () => {
  mock.timers.enable({ apis: ["setInterval"] });
  try {
    const inner = memoryStorage();
    let fewest = Infinity;
    const storage = {
      ...inner,
      delete: async (name: string) => {
        await inner.delete(name);
        fewest = Math.min(fewest, notesIn(inner).length);
      },
    };
    const note = await noteRunning(storage, "backup");
    const [first] = notesIn(inner);
    const [{ run }] = (await listRunning(inner)).running;
    mock.timers.tick(60 * 60 * 1000);
    await new Promise(setImmediate);
    const [second, ...more] = notesIn(inner);
    assert.notEqual(second, first);
    assert.deepEqual(more, []);
    assert.equal(fewest, 1);
    assert.equal((await listRunning(inner)).running[0].run, run);
    await note.remove();
    assert.deepEqual(notesIn(inner), []);
    mock.timers.tick(10 * 60 * 60 * 1000);
    await new Promise(setImmediate);
    assert.deepEqual(notesIn(inner), []);
  } finally {
    mock.timers.reset();
  }
});

test("a run is told that it was taken for dead, also if it renewed its note since", async () => {
  const storage = memoryStorage();
  const sound = await noteRunning(storage, "backup");
  assert.equal(await sound.renewForGood(), true);
  assert.equal(await sound.renewForGood(), true);
  for (const name of notesIn(storage)) storage.objects.delete(name);
  assert.equal(await sound.isThere(), false);
  assert.equal(await sound.renewForGood(), false);
  assert.equal(await sound.isThere(), true);
  assert.equal(await sound.renewForGood(), false);
  await sound.remove();
});

test("a note is left behind if its process is gone, but only on this machine", async () => {
  const storage = memoryStorage();
  const dead = deadProcess();
  const left = put(storage, { host: hostname(), process: dead });
  put(storage, { host: "elsewhere", process: dead });
  const { running, leftBehind } = await listRunning(storage);
  assert.deepEqual(leftBehind, [left]);
  assert.equal(running.length, 1);
});

test("a note whose process id now is another's counts until it is a day old", async () => {
  const storage = memoryStorage();
  // Process 1 lives, and was never a backup.
  put(storage, { host: hostname(), process: 1 });
  put(storage, { host: hostname(), process: process.pid });
  assert.equal((await listRunning(storage)).running.length, 2);
  const old = put(storage, { host: hostname(), process: 1 }, Date.now() - STALE_NOTE_MS - 60_000);
  assert.deepEqual((await listRunning(storage)).leftBehind, [old]);
});

test("how old a note is goes by the storage's clock, not by this machine's", async () => {
  const behindMs = 3 * STALE_NOTE_MS;
  const storage = memoryStorage(() => Date.now() - behindMs);
  const pruning = await notePruning(storage);
  put(storage, {}, Date.now() - behindMs);
  assert.equal((await listRunning(storage)).running.length, 1);
  await pruning.remove();
});

test("a note that cannot be understood counts as somebody's", async () => {
  const storage = memoryStorage();
  const name = put(storage, {});
  storage.objects.set(name, { bytes: Buffer.from("{{{"), modifiedMs: Date.now() });
  const { running, leftBehind } = await listRunning(storage);
  assert.equal(running.length, 1);
  assert.deepEqual(leftBehind, []);
});

test("there is one prune at a time, and it does not count among those who write", async () => {
  const storage = memoryStorage();
  const first = await notePruning(storage);
  await assert.rejects(notePruning(storage), LockedError);
  assert.deepEqual((await listRunning(storage)).running, []);
  await first.remove();
  await (await notePruning(storage)).remove();
  assert.deepEqual(notesIn(storage), []);
});

test("a prune that died here, or a week ago, is in nobody's way; one elsewhere is", async () => {
  const notes: readonly (readonly [Partial<Running>, number, boolean])[] = [
    [{ host: hostname(), process: deadProcess() }, 0, true],
    [{ host: "elsewhere" }, 8, true],
    [{ host: "elsewhere" }, 2, false],
    [{ host: hostname(), process: 1 }, 0, false],
  ];
  for (const [note, ageDays, isFree] of notes) {
    const storage = memoryStorage();
    const name = put(storage, { what: "prune", ...note }, Date.now() - ageDays * 24 * 60 * 60 * 1000);
    storage.objects.set(`${PREFIXES.running}${"0".repeat(32)}`, storage.objects.get(name)!);
    storage.objects.delete(name);
    if (isFree) await (await notePruning(storage)).remove();
    else await assert.rejects(notePruning(storage), LockedError);
  }
});

test("on a full disc pruning needs no note", async () => {
  const storage = faultyStorage(memoryStorage(), ({ method }) =>
    method === "put" ? { failBefore: discFull() } : undefined,
  );
  await (await notePruning(storage)).remove();
});

test("unlocking removes what was left behind, or every note", async () => {
  const storage = memoryStorage();
  put(storage, {});
  const left = put(storage, { host: hostname(), process: 2 ** 22 + 1 });
  await notePruning(storage);
  const { removed, kept } = await removeNotes(storage, false);
  assert.deepEqual([removed, kept.map(({ what }) => what).toSorted()], [1, ["backup", "prune"]]);
  assert.ok(!notesIn(storage).includes(left));
  assert.deepEqual(await removeNotes(storage, true), { removed: 2, kept: [] });
  assert.deepEqual(notesIn(storage), []);
});

test("a prune that was taken for dead knows, and leaves the note of the next one alone", async () => {
  const storage = memoryStorage();
  const first = await notePruning(storage);
  assert.ok(await first.isOurs());
  await removeNotes(storage, true);
  assert.ok(!(await first.isOurs()));
  // Notes tell apart by their time.
  await new Promise((resolve) => setTimeout(resolve, 2));
  const second = await notePruning(storage);
  assert.ok(!(await first.isOurs()));
  await first.remove();
  assert.ok(await second.isOurs());
  await second.remove();
  assert.deepEqual(notesIn(storage), []);
});
