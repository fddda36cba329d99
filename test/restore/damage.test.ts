import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { readDirectory, parsePackObjectName } from "../../src/format/pack.ts";
import type { Cleanup } from "../support/at-end.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { assertSameTree } from "../support/compare-trees.ts";
import { skipUnless } from "../support/requirements.ts";
import { type RestorePlace, restorePlace } from "./restore-place.ts";

const MEBIBYTE = 1024 * 1024;
const FILES = 40;
const FILE_BYTES = 300_000;

interface Place extends RestorePlace {
  in(name: string): string;
  from(name: string): string;
}

/** Many files of some hundred KiB, and a large one, in one pack. */
async function savedPlace(t: Cleanup, options?: Parameters<typeof restorePlace>[1]): Promise<Place> {
  const place = await restorePlace(t, options);
  for (let file = 0; file < FILES; file++) {
    writeFileSync(path.join(place.source, `f${file}`), scrambledBytes(`file ${file}`, FILE_BYTES));
  }
  mkdirSync(path.join(place.source, "folder"));
  writeFileSync(path.join(place.source, "folder/large"), scrambledBytes("large", 12 * MEBIBYTE));
  await place.save();
  const at = (folder: string) => (name: string) => path.join(folder, name);
  return { ...place, in: at(place.target), from: at(place.source) };
}

interface FrameAt {
  readonly pack: string;
  readonly offset: number;
  readonly length: number;
}

async function dataFrames({ storage }: RestorePlace): Promise<FrameAt[]> {
  const frames: FrameAt[] = [];
  for (const [pack, { bytes }] of storage.objects) {
    const name = parsePackObjectName(pack);
    if (name === undefined) continue;
    for (const { kind, offset, length } of await readDirectory(storage, name, bytes.length)) {
      if (kind === "data") frames.push({ pack, offset, length });
    }
  }
  return frames;
}

function flipByteOf(place: RestorePlace, { pack, offset, length }: FrameAt): void {
  const { bytes } = place.storage.objects.get(pack) as { bytes: Uint8Array };
  bytes[offset + Math.floor(length / 2)] ^= 1;
}

function namesOf(told: readonly string[]): string[] {
  return told.map((line) => line.slice(0, line.indexOf(":"))).toSorted();
}

/** Whatever is in the target is right; gives the names that are not there. */
function checkContent(place: Place): string[] {
  const missing: string[] = [];
  for (const name of [...Array.from({ length: FILES }, (_, file) => `f${file}`), "folder/large"]) {
    if (!existsSync(place.in(name))) missing.push(name);
    else assert.ok(readFileSync(place.in(name)).equals(readFileSync(place.from(name))), `${name} is wrong`);
  }
  return missing.toSorted();
}

for (const packsAsFiles of [false, true]) {
  const how = packsAsFiles ? ", from packs that are files" : "";

  test(`what lies in a damaged frame is named and left out, and everything else is restored${how}`, async (t) => {
    for (const which of [0, 5, -1]) {
      const place = await savedPlace(t, { packsAsFiles });
      flipByteOf(place, (await dataFrames(place)).at(which) as FrameAt);
      const result = await place.restore();
      assert.ok(result.told.length > 0);
      assert.equal(result.problems, result.told.length);
      assert.deepEqual(namesOf(result.told), checkContent(place));
      assert.equal(result.restored, FILES + 1 - result.told.length);
      for (const line of result.told) assert.match(line, /damaged|seal|cannot be had/);
    }
  });

  test(`where everything is damaged, all files are named, and the folders are restored${how}`, async (t) => {
    const place = await savedPlace(t, { packsAsFiles });
    for (const frame of await dataFrames(place)) flipByteOf(place, frame);
    const result = await place.restore();
    assert.deepEqual(namesOf(result.told), checkContent(place));
    assert.equal(result.told.length, FILES + 1);
    assert.equal(result.restored, 0);
    assert.ok(existsSync(place.in("folder")));
  });

  test(`where a pack is gone, what lies in it is named, and the rest is restored${how}`, async (t) => {
    const place = await savedPlace(t, { packsAsFiles });
    const [{ pack }] = await dataFrames(place);
    // Of the second snapshot, the pack that goes holds all files but one, and one of its folders.
    writeFileSync(place.from("new"), "new");
    await place.save();
    place.storage.objects.delete(pack);
    const result = await place.restore();
    const lost = [...Array.from({ length: FILES }, (_, file) => `f${file}`), "folder/large"];
    assert.deepEqual(namesOf(result.told), lost.toSorted());
    for (const line of result.told) assert.match(line, /is not in memory|in none of the packs|in no index/);
    assert.equal(readFileSync(place.in("new"), "utf8"), "new");
    assert.deepEqual(checkContent(place).length, FILES + 1);
  });
}

test("a file that is there and cannot be had anew stays as it is", async (t) => {
  const place = await savedPlace(t);
  const frames = await dataFrames(place);
  for (const frame of frames) flipByteOf(place, frame);
  mkdirSync(place.target);
  writeFileSync(place.in("f0"), "mine");
  const result = await place.restore();
  assert.ok(namesOf(result.told).includes("f0"));
  assert.equal(readFileSync(place.in("f0"), "utf8"), "mine");
});

test("with keepDamaged, what can be had of a file is kept, zeros stand for the rest, and it passes for no whole file", async (t) => {
  const place = await savedPlace(t);
  const frames = await dataFrames(place);
  // Some frame that only the large file uses: the last ones.
  flipByteOf(place, frames.at(-1) as FrameAt);
  const result = await place.restore({ keepDamaged: true });
  assert.deepEqual(namesOf(result.told), ["folder/large"]);
  const kept = readFileSync(place.in("folder/large"));
  const whole = readFileSync(place.from("folder/large"));
  assert.equal(kept.length, whole.length);
  let lost = 0;
  for (const [at, byte] of kept.entries()) {
    if (byte === whole[at]) continue;
    assert.equal(byte, 0);
    lost++;
  }
  assert.ok(lost > 0 && lost < 6 * MEBIBYTE);
  assert.equal(statSync(place.in("folder/large")).mtimeMs, 0);
});

test("with keepDamaged, a small file of which nothing can be had is zeros", async (t) => {
  const place = await savedPlace(t);
  flipByteOf(place, (await dataFrames(place))[0]);
  const result = await place.restore({ keepDamaged: true });
  const [name] = namesOf(result.told);
  assert.ok(readFileSync(place.in(name)).every((byte) => byte === 0));
  assert.equal(statSync(place.in(name)).size, FILE_BYTES);
  assert.equal(statSync(place.in(name)).mtimeMs, 0);
});

test(
  "what could not be had comes when the repository is well again",
  { skip: skipUnless({ commands: ["rsync", "tar", "find", "getfattr", "lsattr"] }) },
  async (t) => {
    const place = await savedPlace(t);
    const frames = await dataFrames(place);
    const damaged = [frames[3], frames.at(-2) as FrameAt];
    for (const frame of damaged) flipByteOf(place, frame);
    assert.ok((await place.restore({ keepDamaged: true })).problems > 0);
    for (const frame of damaged) flipByteOf(place, frame);
    const result = await place.restore({ overwrite: "if-changed" });
    assert.deepEqual(result.told, []);
    assert.ok(result.writtenBytes < 8 * MEBIBYTE, "what was whole was written again");
    assert.deepEqual(checkContent(place), []);
  },
);

test("a second copy of a damaged frame serves in its place", async (t) => {
  const place = await savedPlace(t);
  // Saved anew by somebody who did not know of it: the same blobs, in frames of their own.
  const before = new Map(place.storage.objects);
  for (const name of before.keys()) if (/^(packs|index)\//.test(name)) place.storage.objects.delete(name);
  await place.save();
  for (const [name, object] of before) if (/^(packs|index)\//.test(name)) place.storage.objects.set(name, object);
  const result = await place.restore();
  assert.deepEqual(result.told, []);
  assert.deepEqual(checkContent(place), []);
});

test("verify tells of a file that was changed behind the restore's back", async (t) => {
  const place = await savedPlace(t);
  const result = await place.restore({
    verify: true,
    onEntry: (where) => {
      if (where !== "f7" && where !== "folder/large") return;
      const wrong = readFileSync(place.in(where));
      wrong[1000] ^= 1;
      writeFileSync(place.in(where), wrong);
    },
  });
  assert.deepEqual(namesOf(result.told), ["f7", "folder/large"]);
  assert.equal(result.verified, FILES - 1);
});

test("verify reads back everything that was restored or found right, and nothing that was skipped", async (t) => {
  const place = await savedPlace(t);
  mkdirSync(place.target);
  writeFileSync(place.in("f3"), "mine");
  const result = await place.restore({ verify: true, overwrite: "never" });
  assert.deepEqual(result.told, []);
  assert.equal(result.verified, FILES);
  assert.equal((await place.restore({ verify: true })).verified, FILES + 1);
});

test(
  "the tree that came back from a sound repository is the same",
  { skip: skipUnless({ commands: ["rsync", "tar", "find", "getfattr", "lsattr"] }) },
  async (t) => {
    const place = await savedPlace(t);
    assert.deepEqual((await place.restore()).told, []);
    await assertSameTree(place.source, place.target);
  },
);
