import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { encodeEntry } from "../format/tree.ts";
import type { SourceEntry } from "../source/source.ts";
import { openResumableLog } from "./resumable-log.ts";
import { madeUpEntry } from "./testing/made-up-entry.ts";
import { treeEntryOf } from "./tree-entry.ts";
import { createWalkLog, openWalkLog } from "./walk-log.ts";
import type { BlobNeeds, KnownEntries, WalkLogWriter } from "./walk-log.ts";
import type { WalkRecord } from "./walk-log-file.ts";

/** top (digest), top/a (digest, complete), top/a/1, top/a/2, top/b (digest, not complete), top/b/3, top/c (none), top/c/4 */
const PATHS = ["", "a", "a/1", "a/2", "b", "b/3", "c", "c/4"];
const treeId = (text: string): Buffer => Buffer.alloc(32, text);
const digestOf = (place: string): string => `digest of ${place}`.padEnd(16, ".").slice(0, 16);
const ALL: BlobNeeds = { need: () => true, needFrame: () => undefined };

describe("a walk log", () => {
  it("gives a directory that was saved whole, and what comes behind it", (t) => {
    const log = openLog(t);
    log.match(entry(""));
    const a = log.match(entry("a"));
    assert.equal(a?.digest, digestOf("a"));
    const needed: string[] = [];
    const need = (ids: Uint8Array, at: number): boolean => needed.push(textAt(ids, at)) > 0;
    const folder = log.takeFolder(1, { ...ALL, need });
    assert.deepEqual(needed, ["content of a/1", "content of a/2", "a".repeat(32)]);
    assert.deepEqual([folder?.files, folder?.directories, folder?.others, folder?.bytes], [2, 0, 0, 14]);
    assert.deepEqual([folder?.from, folder?.to, folder?.treeId.toString("latin1")], [1, 5, "a".repeat(32)]);
    assert.equal(log.match(entry("b"))?.same, "all");
    assert.equal(log.match(entry("b/3"))?.same, "all");
    log.close();
  });

  it("gives no directory of which not all was saved, and then what is in it one by one", (t) => {
    const log = openLog(t);
    log.match(entry(""));
    assert.equal(log.takeFolder(0, ALL), undefined);
    log.match(entry("a"));
    log.match(entry("a/1"));
    assert.equal(log.match(entry("a/2"))?.position, 3);
    log.match(entry("b"));
    assert.equal(log.takeFolder(1, ALL), undefined);
    assert.equal(log.match(entry("b/3"))?.position, 6);
    log.match(entry("c"));
    assert.equal(log.takeFolder(1, ALL), undefined);
    assert.equal(log.match(entry("c/4"))?.same, "all");
    assert.equal(log.hasMore(), false);
    log.close();
  });

  it("goes back to where it was when a visitor does not agree, over blocks of the file as well", (t) => {
    const file = path.join(temporaryFolder(t), "log");
    const writer = createWalkLog(file);
    writer.add(record("", digestOf("")));
    const names = Array.from({ length: 20_000 }, (_, number) => `file-${String(number).padStart(6, "0")}`);
    for (const name of names) writer.add(record(name));
    writer.addFolderEnd(0, [treeId("x")]);
    writer.commit();
    const log = openWalkLog(file);
    assert.ok(log);
    log.match(entry(""));
    const need = (ids: Uint8Array, at: number): boolean => ids[at] !== "x".charCodeAt(0);
    assert.equal(log.takeFolder(0, { ...ALL, need }), undefined);
    for (const [number, name] of names.entries()) assert.equal(log.match(entry(name))?.position, number + 1);
    log.close();
  });

  it("gives the same of a directory, with the frames that it needs, when it was gone through before", (t) => {
    // b and c, beside each other, have all in one frame; d lacks something.
    const file = path.join(temporaryFolder(t), "log");
    const writer = createWalkLog(file);
    writer.add(record("", digestOf("")));
    for (const folder of ["a", "b", "c", "d"]) {
      writer.add(record(folder, digestOf(folder)));
      for (const name of ["1", "2"]) writer.add(record(`${folder}/${name}`));
      writer.addFolderEnd(1, [treeId(folder)]);
    }
    writer.commit();
    const frames: Record<string, number> = { a: 1, b: 2, c: 2, d: -1 };
    const folderAt = (ids: Uint8Array, at: number): string => /^(?:content of )?(.)/.exec(textAt(ids, at))?.[1] ?? "";
    const log = openWalkLog(file);
    assert.ok(log);
    const steps = log.scanFolders?.((ids, at) => frames[folderAt(ids, at)]);
    assert.equal([...(steps ?? [])].length > 0, true);
    const taken: Record<string, unknown> = {};
    log.match(entry(""));
    for (const folder of ["a", "b", "c", "d"]) {
      log.match(entry(folder));
      const numbers = new Set<number>();
      let asked = 0;
      const need = (): boolean => asked++ < 0;
      const { files, bytes, from, to } = log.takeFolder(1, { need, needFrame: (frame) => numbers.add(frame) }) ?? {};
      taken[folder] = { files, bytes, from, to, frames: [...numbers], asked };
      if (folder === "d") assert.equal(log.match(entry("d/1"))?.position, 14);
    }
    assert.deepEqual(taken, {
      a: { files: 2, bytes: 14, from: 1, to: 5, frames: [1], asked: 0 },
      b: { files: 2, bytes: 14, from: 5, to: 9, frames: [2], asked: 0 },
      c: { files: 2, bytes: 14, from: 9, to: 13, frames: [2], asked: 0 },
      d: { files: undefined, bytes: undefined, from: undefined, to: undefined, frames: [], asked: 1 },
    });
    log.close();
  });

  it("stays as it is while all is as it tells, and holds everything once something is not", (t) => {
    const file = path.join(temporaryFolder(t), "log");
    writeAll(createWalkLog(file));
    const before = readFileSync(file);

    const same = openWalkLog(file);
    assert.ok(same);
    const unchanged = createWalkLog(file, same);
    replay(same, unchanged, PATHS);
    unchanged.commit();
    assert.equal(unchanged.hasDiverged(), false);
    same.close();

    const again = openWalkLog(file);
    assert.ok(again);
    const changed = createWalkLog(file, again);
    changed.add({ ...record(""), digest: digestOf(""), sameAs: undefined });
    again.match(entry(""));
    again.match(entry("a"));
    const folder = again.takeFolder(1, ALL);
    assert.ok(folder);
    changed.addFolder(folder);
    for (const place of PATHS.slice(4)) changed.add(record(place, digestFor(place)));
    changed.commit();
    again.close();
    assert.deepEqual(readFileSync(file), before);
  });
});

describe("the log of a run that may be resumed", () => {
  it("is not written where all is as it was, whether the run came to its end or not", (t) => {
    const file = path.join(temporaryFolder(t), "log");
    writeAll(openResumableLog(file).log);
    const before = readFileSync(file);
    for (const end of ["commit", "discard"] as const) {
      const { known, log } = openResumableLog(file);
      const places = end === "commit" ? PATHS : PATHS.slice(0, 4);
      assert.ok(known);
      replay(known, log, places);
      log[end]();
      known.close();
      assert.equal(existsSync(`${file}.partial`), false);
      assert.deepEqual(readFileSync(file), before);
    }
  });

  it("is kept of a run that broke off, and becomes that of one that finds no more", (t) => {
    const file = path.join(temporaryFolder(t), "log");
    const first = openResumableLog(file);
    writeAll(first.log, PATHS.slice(0, 4), "discard");
    assert.equal(existsSync(file), false);
    const second = openResumableLog(file);
    second.known?.match(entry(""));
    second.known?.match(entry("a"));
    const folder = second.known?.takeFolder?.(1, ALL);
    assert.ok(folder);
    second.log.add({ ...record("", digestOf("")), sameAs: 0 });
    second.log.addFolder(folder);
    second.log.commit();
    second.known?.close();
    assert.equal(existsSync(`${file}.partial`), false);
    const whole = openWalkLog(file);
    assert.equal(whole?.match(entry(""))?.same, "all");
    assert.equal(whole.match(entry("a"))?.same, "all");
    whole.close();
  });
});

/** A run that finds all as it was. */
function replay(known: KnownEntries, log: WalkLogWriter, places: readonly string[]): void {
  for (const place of places) {
    if (place.startsWith("a/")) continue;
    const sameAs = known.match(entry(place))?.position;
    const folder = place === "a" ? known.takeFolder?.(1, ALL) : undefined;
    if (folder === undefined) log.add({ ...record(place, digestFor(place)), sameAs });
    else log.addFolder(folder);
  }
}

const digestFor = (place: string): string | undefined => (["", "a", "b"].includes(place) ? digestOf(place) : undefined);

function openLog(t: TestContext): NonNullable<ReturnType<typeof openWalkLog>> {
  const file = path.join(temporaryFolder(t), "log");
  writeAll(createWalkLog(file));
  const log = openWalkLog(file);
  assert.ok(log);
  return log;
}

function writeAll(
  writer: WalkLogWriter,
  places: readonly string[] = PATHS,
  end: "commit" | "discard" = "commit",
): void {
  for (const place of places) {
    writer.add(record(place, digestFor(place)));
    if (place === "a/2") writer.addFolderEnd(1, [treeId("a")]);
  }
  writer[end]();
}

const textAt = (ids: Uint8Array, at: number): string =>
  Buffer.from(ids.subarray(at, at + 32))
    .toString()
    .replaceAll("\0", "");

function entry(place: string): SourceEntry {
  return madeUpEntry(place, ["", "a", "b", "c", "d"].includes(place) ? "directory" : "file", 7);
}

function record(place: string, digest?: string): WalkRecord {
  const { name, depth, stat } = entry(place);
  const id = Buffer.alloc(32);
  id.write(`content of ${place}`);
  const content = stat.type === "file" ? [{ id, lengthBytes: 7 }] : [];
  const nothing = { xattrs: [], target: undefined, hardLink: undefined, listed: false, holes: [] };
  const encoded = encodeEntry(treeEntryOf({ ...nothing, name, stat, content }));
  return { depth, stat, encoded, listedIds: Buffer.alloc(0), digest, trust: "all", sameAs: undefined };
}
