import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { saveSource } from "../../test/support/library-repository.ts";
import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import { rawPathFromText } from "../platform/raw-path.ts";
import { openLocalSource } from "../source/local/local-source.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import { faultyStorage, inputOutputError } from "../storage/faulty.ts";
import { HoldfastError } from "../errors.ts";
import { checkRepository } from "./check.ts";
import { openFrameReader } from "./frame-reader.ts";
import { prune } from "./prune.ts";
import { repairIndex } from "./repair.ts";
import { createRepository, type Repository } from "./repository.ts";
import { noteRunning } from "./running.ts";
import { findSnapshot, type Snapshot } from "./snapshots.ts";
import { PREFIXES } from "../format/names.ts";

const FILES = 100;
const FILE_BYTES = 20_000;

interface Place {
  readonly folder: string;
  readonly repository: Repository;
  readonly storage: MemoryStorage;
  save(): Promise<string>;
  storedBytes(): Promise<number>;
}

async function setUp(t: TestContext): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-lay-anew-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "files"));
  for (let file = 0; file < FILES; file++) change(folder, file);
  const storage = memoryStorage();
  const repository = await createRepository(storage, {
    passphrase: "x",
    label: "test",
    workFactorLog2: 4,
    now: new Date(),
  });
  const path = rawPathFromText(join(folder, "files"));
  return {
    folder,
    repository,
    storage,
    async save() {
      const source = openLocalSource({ paths: [path], onProblem: ({ error }) => assert.fail(String(error)) });
      const result = await saveSource(repository, source, { paths: [path] });
      await source.close();
      return result.snapshotId;
    },
    async storedBytes() {
      let sum = 0;
      for await (const { sizeBytes } of storage.list(PREFIXES.pack)) sum += sizeBytes;
      return sum;
    },
  };
}

function change(folder: string, file: number): void {
  writeFileSync(join(folder, "files", `f${file}`), randomBytes(FILE_BYTES));
}

async function contentsOf({ repository, folder }: Place, snapshot: Snapshot): Promise<Map<string, Buffer>> {
  const view = openSnapshotView(await openFrameReader(repository), snapshot.sealed.root);
  const directory = await view.lookup(rawPathFromText(join(folder, "files")));
  assert.ok(directory?.type === "directory");
  const contents = new Map<string, Buffer>();
  for await (const entry of view.list(directory)) {
    if (entry.type === "file") contents.set(entry.name, Buffer.from(await view.read(entry, 0, entry.sizeBytes)));
  }
  return contents;
}

async function assertSound({ repository }: Place): Promise<void> {
  const problems: string[] = [];
  await checkRepository({
    ...repository,
    readData: { kind: "all" },
    onProblem: ({ severity, object, message }) => severity === "error" && problems.push(`${object}: ${message}`),
  });
  assert.deepEqual(problems, []);
}

/** Two snapshots of which the first is forgotten, so that of its frames only every fifth blob is still needed. */
async function withSparseFrames(place: Place): Promise<Snapshot> {
  const first = await place.save();
  for (let file = 0; file < FILES; file++) if (file % 5 !== 0) change(place.folder, file);
  const second = await place.save();
  await place.repository.storage.delete(PREFIXES.snapshot + first);
  return findSnapshot(place.repository, second);
}

function assertAsOnDisc({ folder }: Place, contents: ReadonlyMap<string, Buffer>): void {
  assert.equal(contents.size, FILES);
  for (const [name, bytes] of contents) assert.ok(bytes.equals(readFileSync(join(folder, "files", name))), name);
}

test("what is unused inside of frames is freed, and the snapshot stays whole", async (t) => {
  const place = await setUp(t);
  const snapshot = await withSparseFrames(place);
  const before = await place.storedBytes();
  await prune(place.repository);
  const needed = FILES * FILE_BYTES;
  assert.ok(before > needed * 1.7, `${before} bytes before`);
  assert.ok((await place.storedBytes()) < needed * 1.1, `${await place.storedBytes()} bytes after`);
  await assertSound(place);
  assertAsOnDisc(place, await contentsOf(place, snapshot));
});

test("frame sets that name frames which were laid anew stay true over further prunes and a rebuilt index", async (t) => {
  const place = await setUp(t);
  const snapshot = await withSparseFrames(place);
  await prune(place.repository);
  await prune(place.repository, { maxUnusedRatio: 0 });
  await repairIndex(place.repository, { onProblem: (object, message) => assert.fail(`${object}: ${message}`) });
  const { damagedSnapshots } = await prune(place.repository, { maxUnusedRatio: 0 });
  assert.equal(damagedSnapshots.size, 0);
  await assertSound(place);
  assertAsOnDisc(place, await contentsOf(place, snapshot));
});

test("frames can be laid anew again and again", async (t) => {
  const place = await setUp(t);
  const oldest = await withSparseFrames(place);
  const asOldest = await contentsOf(place, oldest);
  await prune(place.repository);
  for (let round = 1; round <= 3; round++) {
    for (let file = 0; file < FILES; file++) if (file % (5 * 2 ** round) !== 0) change(place.folder, file);
    const dropped = await place.save();
    for (let file = 0; file < FILES; file++) if (file % (5 * 2 ** round) !== 0) change(place.folder, file);
    await place.save();
    await place.repository.storage.delete(PREFIXES.snapshot + dropped);
    await prune(place.repository);
    await assertSound(place);
  }
  assert.deepEqual(await contentsOf(place, oldest), asOldest);
  assertAsOnDisc(place, await contentsOf(place, await findSnapshot(place.repository, "latest")));
});

test("while somebody is writing, frames are left as they are", async (t) => {
  const place = await setUp(t);
  await withSparseFrames(place);
  const note = await noteRunning(place.repository.storage, "backup");
  const before = await place.storedBytes();
  await prune(place.repository);
  assert.equal(await place.storedBytes(), before);
  await note.remove();
});

test("what stood for an old frame and is laid anew itself hands its notes on", async (t) => {
  const place = await setUp(t);
  const first = await place.save();
  for (let file = 0; file < FILES; file++) if (file % 3 !== 0) change(place.folder, file);
  const second = await place.save();
  for (let file = 0; file < FILES; file++) if (file % 15 !== 0) change(place.folder, file);
  const third = await findSnapshot(place.repository, await place.save());
  for (const gone of [first, second]) {
    await place.repository.storage.delete(PREFIXES.snapshot + gone);
    await prune(place.repository, { maxUnusedRatio: 0 });
    await assertSound(place);
  }
  assert.ok((await place.storedBytes()) < FILES * FILE_BYTES * 1.02, `${await place.storedBytes()} bytes after`);
  const { damagedSnapshots, deletedPacks } = await prune(place.repository, { maxUnusedRatio: 0 });
  assert.equal(damagedSnapshots.size, 0);
  assert.equal(deletedPacks, 0);
  assertAsOnDisc(place, await contentsOf(place, third));
});

test("a prune that breaks off at any call leaves nothing behind that the next two do not free", async (t) => {
  const place = await setUp(t);
  const { storage } = place;
  const snapshot = await withSparseFrames(place);
  const before = new Map(storage.objects);
  let isReached = true;
  let at = 0;
  for (; isReached; at++) {
    storage.objects.clear();
    for (const [name, object] of before) storage.objects.set(name, object);
    isReached = false;
    const failing = faultyStorage(storage, ({ index }) => {
      if (index < at) return undefined;
      isReached = true;
      return { failBefore: inputOutputError() };
    });
    await prune({ ...place.repository, storage: failing }, { maxUnusedRatio: 0 }).catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) throw error;
    });
    const notes = [...storage.objects.keys()].filter((name) => name.startsWith(PREFIXES.running));
    for (const note of notes) storage.objects.delete(note);
    for (let times = 0; times < 2; times++) await prune(place.repository, { maxUnusedRatio: 0 });
    const storedBytes = await place.storedBytes();
    assert.ok(storedBytes < FILES * FILE_BYTES * 1.01, `${storedBytes} bytes, broken off at call ${at}`);
    if (at % 5 === 0) assertAsOnDisc(place, await contentsOf(place, snapshot));
  }
  await assertSound(place);
  assert.ok(at > 20, `${at} calls`);
});

test("where only little of frames and packs is unused, that stays, and a prune more changes nothing", async (t) => {
  const place = await setUp(t);
  const first = await place.save();
  for (let file = 0; file < 4; file++) change(place.folder, file);
  await place.save();
  await place.repository.storage.delete(PREFIXES.snapshot + first);
  for (const maxUnusedRatio of [0.06, 0]) {
    await prune(place.repository, { maxUnusedRatio });
    const settled = [...place.storage.objects.keys()];
    assert.equal((await place.storedBytes()) > FILES * FILE_BYTES * 1.03, maxUnusedRatio > 0);
    const { deletedPacks } = await prune(place.repository, { maxUnusedRatio });
    assert.equal(deletedPacks, 0);
    assert.deepEqual([...place.storage.objects.keys()], settled);
  }
  await assertSound(place);
});
