import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { errnoOf, UsageError } from "../../errors.ts";
import { atEnd } from "../../../test/support/at-end.ts";
import { usedMemoryBytes } from "../../../test/support/heap.ts";
import { isRoot, skipUnless } from "../../../test/support/requirements.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { setXattrAt } from "../../platform/extended-attributes.ts";
import { makeDirectoryAt, makeNodeAt } from "../../platform/make.ts";
import { closeFd, OPEN, openAt, openBeneath, openPath } from "../../platform/open.ts";
import { type RawPath, rawPathFromBytes, rawPathFromText } from "../../platform/raw-path.ts";
import { statFd } from "../../platform/stat.ts";
import type { Source, SourceEntry, SourceProblem } from "../source.ts";
import { isVanished } from "../vanished.ts";
import { type LocalSourceOptions, openLocalSource } from "./local-source.ts";

const raw = rawPathFromText;

interface Walked {
  readonly entries: readonly SourceEntry[];
  readonly problems: readonly SourceProblem[];
}

type Options = Omit<LocalSourceOptions, "paths" | "onProblem">;

/** Opens a source that is closed when the test ends, and puts problems into the list that it also gives. */
function open(
  t: TestContext,
  paths: readonly string[],
  options: Options = {},
): { source: Source; problems: SourceProblem[] } {
  const problems: SourceProblem[] = [];
  const source = openLocalSource({ ...options, paths: paths.map(raw), onProblem: (problem) => problems.push(problem) });
  atEnd(t, () => source.close());
  return { source, problems };
}

async function walk(t: TestContext, paths: readonly string[], options: Options = {}): Promise<Walked> {
  const { source, problems } = open(t, paths, options);
  return { entries: await all(source), problems };
}

async function all(source: Source): Promise<SourceEntry[]> {
  const entries: SourceEntry[] = [];
  for await (const batch of source.entries()) entries.push(...batch);
  return entries;
}

/** Paths below `folder`, with a slash at the end of folders; what is above it is left out. */
function below(folder: string, { entries }: Pick<Walked, "entries">): string[] {
  const prefix = `${raw(folder).slice(1)}/`;
  return entries
    .filter((entry) => entry.path.startsWith(prefix))
    .map((entry) => entry.path.slice(prefix.length) + (entry.stat.type === "directory" ? "/" : ""));
}

/** Makes files; those that end with a slash are folders. */
function make(folder: string, names: readonly string[]): void {
  for (const name of names) {
    const full = path.join(folder, name);
    mkdirSync(name.endsWith("/") ? full : path.dirname(full), { recursive: true });
    if (!name.endsWith("/")) writeFileSync(full, name);
  }
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

describe("a local source", () => {
  it("gives the folders from / down, and then all that is in the place named", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["b", "a/x", "a/y/z", "a.x", "c/"]);
    const { entries, problems } = await walk(t, [folder]);
    assert.deepEqual(problems, []);
    const parts = folder.slice(1).split("/");
    assert.deepEqual(
      entries.slice(0, parts.length + 1).map(({ path: at, name, depth, stat }) => [at, name, depth, stat.type]),
      [
        ["", "", 0, "directory"],
        ...parts.map((name, index) => [parts.slice(0, index + 1).join("/"), name, index + 1, "directory"]),
      ],
    );
    assert.deepEqual(below(folder, { entries }), ["a/", "a/x", "a/y/", "a/y/z", "a.x", "b", "c/"]);
  });

  it("gives each entry with its own attributes", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["file"]);
    symlinkSync("file", path.join(folder, "link"));
    chmodSync(path.join(folder, "file"), 0o4751);
    const fd = openPath(raw(folder), OPEN.PATH);
    makeNodeAt(fd, raw("fifo"), "fifo", 0o600);
    makeNodeAt(fd, raw("socket"), "socket", 0o600);
    closeFd(fd);
    const { entries } = await walk(t, [folder]);
    assert.deepEqual(
      entries.slice(-4).map(({ name, stat }) => [name, stat.type, stat.sizeBytes]),
      [
        ["fifo", "fifo", 0],
        ["file", "file", 4],
        ["link", "symlink", 4],
        ["socket", "socket", 0],
      ],
    );
    assert.equal(entries.at(-3)?.stat.mode, 0o4751);
  });

  it("keeps the order for any tree of any names", async (t) => {
    const part = fc
      .array(fc.constantFrom(1, 10, 0x20, 0x2d, 0x2e, 0x30, 0x41, 0x61, 0x7f, 0x80, 0xe9, 0xff), {
        minLength: 1,
        maxLength: 4,
      })
      .map((bytes) => rawPathFromBytes(Uint8Array.from(bytes)))
      .filter((name) => name !== "." && name !== "..");
    const trees = fc.array(fc.array(part, { minLength: 1, maxLength: 5 }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(trees, async (paths) => {
        const folder = temporaryFolder(t);
        for (const parts of paths) {
          mkdirSync(Buffer.from(`${folder}/${parts.join("/")}`, "latin1"), { recursive: true });
        }
        const { entries, problems } = await walk(t, [folder]);
        assert.deepEqual(problems, []);
        const expected = new Set<string>();
        for (const parts of paths)
          for (let end = 1; end <= parts.length; end++) expected.add(parts.slice(0, end).join("/"));
        // Depth first, each folder sorted by bytes, is the order of paths with the slash before all other bytes.
        const key = (text: string): string => text.replaceAll("/", "\0");
        const sorted = [...expected].sort((a, b) => (key(a) < key(b) ? -1 : 1));
        assert.deepEqual(
          below(folder, { entries }),
          sorted.map((name) => `${name}/`),
        );
        for (const { path: at, name, depth } of entries.slice(1)) {
          assert.equal(at.split("/").at(-1), name);
          assert.equal(at.split("/").length, depth);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("goes deeper than descriptors and the kernel's longest path allow", async (t) => {
    const folder = temporaryFolder(t);
    const levels = 600;
    const name = raw("deep-folder");
    let fd = openPath(raw(folder), OPEN.PATH);
    for (let level = 0; level < levels; level++) {
      makeDirectoryAt(fd, name, 0o755);
      makeNodeAt(fd, raw("a"), "file", 0o600);
      makeNodeAt(fd, raw("z"), "file", 0o600);
      const next = openAt(fd, name, OPEN.PATH);
      closeFd(fd);
      fd = next;
    }
    closeFd(fd);
    const { source, problems } = open(t, [folder]);
    const before = openDescriptors();
    let most = 0;
    const entries: SourceEntry[] = [];
    for await (const batch of source.entries()) {
      most = Math.max(most, openDescriptors() - before);
      entries.push(...batch);
    }
    assert.deepEqual(problems, []);
    const found = below(folder, { entries });
    assert.equal(found.length, 3 * levels);
    assert.equal(found.filter((at) => at.endsWith("z")).length, levels);
    assert.equal(found.at(-1), "z");
    assert.ok(most > 2 && most < 100, `${most} descriptors`);
    assert.equal(openDescriptors(), before);
    const deepest = entries.reduce((longest, entry) => (entry.depth > longest.depth ? entry : longest));
    assert.ok(deepest.path.length > 4096);
    const content = source.content(
      entries.find((entry) => entry.depth === deepest.depth && entry.name === "a") ?? deepest,
    );
    assert.ok(content.kind === "local");
    const opened = openBeneath(content.rootFd, content.path, OPEN.PATH);
    assert.deepEqual(statFd(opened).inodeLow, entries.find((entry) => entry.path === content.path)?.stat.inodeLow);
    closeFd(opened);
    assert.deepEqual(source.details(deepest), { xattrs: [], target: undefined });
  });

  it("holds no descriptor after the walk is given up half-way", async (t) => {
    const folder = temporaryFolder(t);
    make(
      folder,
      Array.from({ length: 2000 }, (_, index) => `a/b/c/${index}`),
    );
    const { source } = open(t, [folder]);
    const before = openDescriptors();
    for await (const batch of source.entries()) if (batch.length > 0) break;
    assert.equal(openDescriptors(), before);
  });

  it("holds no more memory for more entries", async (t) => {
    const folder = temporaryFolder(t);
    for (let outer = 0; outer < 10; outer++) {
      mkdirSync(`${folder}/${outer}`);
      for (let inner = 0; inner < 300; inner++) closeSync(openSync(`${folder}/${outer}/${inner}`, "wx"));
    }
    const { source } = open(t, [folder]);
    const walkOnce = async (): Promise<number> => {
      let count = 0;
      for await (const batch of source.entries()) count += batch.length;
      return count;
    };
    await walkOnce();
    const before = usedMemoryBytes();
    for (let round = 0; round < 50; round++) assert.ok((await walkOnce()) > 3000);
    const grownBytes = usedMemoryBytes() - before;
    assert.ok(grownBytes < 2 * 2 ** 20, `${grownBytes} bytes`);
  });
});

describe("the places named", () => {
  it("may be several, also within each other, and each thing is saved once", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a/x", "a/y/z", "b/x", "c"]);
    const at = (name: string): string => path.join(folder, name);
    const walked = await walk(t, [at("c"), at("a/y"), at("a"), at("b/x"), at("a/y/z")]);
    assert.deepEqual(below(folder, walked), ["a/", "a/x", "a/y/", "a/y/z", "b/", "b/x", "c"]);
    assert.deepEqual(walked.problems, []);
  });

  it("may be relative to the working directory", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a/x", "b"]);
    const before = process.cwd();
    process.chdir(path.join(folder, "a"));
    atEnd(t, () => process.chdir(before));
    assert.deepEqual(below(folder, await walk(t, ["."])), ["a/", "a/x"]);
    assert.deepEqual(below(folder, await walk(t, ["../b"])), ["b"]);
  });

  it("that are missing are reported by name, and the others are saved", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a/x", "file"]);
    const at = (name: string): string => path.join(folder, name);
    const walked = await walk(t, [at("a"), at("a/missing"), at("gone/below"), at("file/below"), at("missing")]);
    assert.deepEqual(below(folder, walked), ["a/", "a/x", "file"]);
    assert.deepEqual(
      walked.problems.map((problem) => [problem.path, problem.during, errnoOf(problem.error), isVanished(problem)]),
      [
        [at("a/missing").slice(1), "find", "ENOENT", false],
        [at("file/below").slice(1), "find", "ENOTDIR", false],
        [at("gone/below").slice(1), "find", "ENOENT", false],
        [at("missing").slice(1), "find", "ENOENT", false],
      ],
    );
  });

  it("must not all be missing, nor none at all", (t) => {
    const folder = temporaryFolder(t);
    assert.throws(
      () => open(t, [path.join(folder, "no"), path.join(folder, "nothing")]),
      (error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, /\/no: no such file or directory .*\/nothing: no such file/);
        return true;
      },
    );
    assert.throws(() => open(t, []), UsageError);
  });

  it("that are links are saved as links, and with a slash at the end as what they point to", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["real/x"]);
    symlinkSync("real", path.join(folder, "link"));
    const asLink = await walk(t, [path.join(folder, "link")]);
    assert.deepEqual(below(folder, asLink), ["link"]);
    assert.equal(asLink.entries.at(-1)?.stat.type, "symlink");
    const { source, problems } = open(t, [path.join(folder, "link/")]);
    const entries = await all(source);
    assert.deepEqual(below(folder, { entries }), ["link/", "link/x"]);
    assert.deepEqual(problems, []);
    const last = entries.at(-1) ?? assert.fail();
    const content = source.content(last);
    assert.equal(content.kind === "local" && content.path, path.join(folder, "real/x").slice(1));
    assert.deepEqual(source.details(last), { xattrs: [], target: undefined });
  });

  it("that lie behind a link are saved under the name that was given", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["real/home/ann/notes/one", "real/home/bob/x"]);
    symlinkSync(path.join(folder, "real/home"), path.join(folder, "home"));
    const { source, problems } = open(t, [path.join(folder, "home/ann")]);
    const entries = await all(source);
    assert.deepEqual(below(folder, { entries }), ["home/", "home/ann/", "home/ann/notes/", "home/ann/notes/one"]);
    assert.deepEqual(problems, []);
    const content = source.content(entries.at(-1) ?? assert.fail());
    assert.ok(content.kind === "local");
    const fd = openBeneath(content.rootFd, content.path, OPEN.READ);
    assert.equal(statFd(fd).sizeBytes, "real/home/ann/notes/one".length);
    closeFd(fd);
  });

  it("that dangle are saved as links", async (t) => {
    const folder = temporaryFolder(t);
    symlinkSync("nowhere", path.join(folder, "dangling"));
    symlinkSync("loop", path.join(folder, "loop"));
    const { source } = open(t, [path.join(folder, "dangling"), path.join(folder, "loop")]);
    const entries = await all(source);
    assert.deepEqual(below(folder, { entries }), ["dangling", "loop"]);
    assert.equal(source.details(entries.at(-2) ?? assert.fail()).target, "nowhere");
  });
});

describe("excluding", () => {
  it("leaves out what patterns match, and does not go into folders that they match", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a.o", "a.c", "keep.o", "sub/b.o", "sub/x", "skip/x", "SKIP/y", "dir/skip", "Thumbs.DB"]);
    const walked = await walk(t, [folder], {
      excludes: ["*.o", "!keep.o", "skip/"],
      excludesIgnoringCase: ["thumbs.db"],
    });
    assert.deepEqual(below(folder, walked), ["SKIP/", "SKIP/y", "a.c", "dir/", "dir/skip", "keep.o", "sub/", "sub/x"]);
    assert.deepEqual(walked.problems, []);
  });

  it("takes patterns with a slash at the start as beginning at /", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a/x", "b/a/x"]);
    assert.deepEqual(below(folder, await walk(t, [folder], { excludes: [`${folder}/a`] })), ["b/", "b/a/", "b/a/x"]);
    assert.deepEqual(below(folder, await walk(t, [folder], { excludes: ["/a"] })), [
      "a/",
      "a/x",
      "b/",
      "b/a/",
      "b/a/x",
    ]);
  });

  it("holds for what is named as well, and is an error if nothing is left", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a/x", "tmp/y"]);
    const named = [path.join(folder, "a"), path.join(folder, "tmp")];
    assert.deepEqual(below(folder, await walk(t, named, { excludes: [`${folder}/tmp`] })), ["a/", "a/x"]);
    await assert.rejects(walk(t, named, { excludes: [folder] }), UsageError);
  });

  it("leaves out files larger than the limit, and nothing else", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["small", "large", "folder/"]);
    truncateSync(path.join(folder, "small"), 1000);
    truncateSync(path.join(folder, "large"), 1001);
    symlinkSync("large", path.join(folder, "link"));
    const walked = await walk(t, [folder], { excludeLargerThanBytes: 1000 });
    assert.deepEqual(below(folder, walked), ["folder/", "link", "small"]);
  });

  it("leaves out the very folders given, by whatever way they are reached", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a/repository/x", "b/repository/x", "later"]);
    symlinkSync("a", path.join(folder, "link"));
    const excludeFolders = [raw(path.join(folder, "link/repository/")), raw(path.join(folder, "not/yet/there"))];
    const walked = await walk(t, [folder], { excludeFolders });
    assert.deepEqual(below(folder, walked), ["a/", "b/", "b/repository/", "b/repository/x", "later", "link"]);
  });

  const signature = "Signature: 8a477f597d28d172789f06886806bc55";

  it("saves of a cache only the folder and its tag", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["cache/a", "cache/b/c", "fake/a", "short/a", "folder/CACHEDIR.TAG/", "folder/a", "link/a"]);
    writeFileSync(path.join(folder, "cache/CACHEDIR.TAG"), `${signature}\n# made by someone`);
    writeFileSync(path.join(folder, "fake/CACHEDIR.TAG"), "Signature: 0000000000000000000000000000000\n");
    writeFileSync(path.join(folder, "short/CACHEDIR.TAG"), signature.slice(0, -1));
    symlinkSync("../cache/CACHEDIR.TAG", path.join(folder, "link/CACHEDIR.TAG"));
    const everything = await walk(t, [folder]);
    assert.ok(below(folder, everything).includes("cache/b/c"));
    const walked = await walk(t, [folder], { excludeCaches: true });
    assert.deepEqual(below(folder, walked), [
      "cache/",
      "cache/CACHEDIR.TAG",
      "fake/",
      "fake/CACHEDIR.TAG",
      "fake/a",
      "folder/",
      "folder/CACHEDIR.TAG/",
      "folder/a",
      "link/",
      "link/CACHEDIR.TAG",
      "link/a",
      "short/",
      "short/CACHEDIR.TAG",
      "short/a",
    ]);
  });

  it("saves of a folder with another tag only the folder and the tag", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["one/.nobackup", "one/x", "one/y/z", "two/tag", "two/x", "three/tag", "three/x"]);
    writeFileSync(path.join(folder, "two/tag"), "skip: this one");
    const walked = await walk(t, [folder], { excludeIfPresent: [".nobackup", "tag:skip: this"] });
    assert.deepEqual(below(folder, walked), [
      "one/",
      "one/.nobackup",
      "three/",
      "three/tag",
      "three/x",
      "two/",
      "two/tag",
    ]);
  });

  it("does not wait for the other end of a FIFO that has the name of a tag", { timeout: 10_000 }, async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["a"]);
    const fd = openPath(raw(folder), OPEN.PATH);
    makeNodeAt(fd, raw("CACHEDIR.TAG"), "fifo", 0o600);
    closeFd(fd);
    assert.deepEqual(below(folder, await walk(t, [folder], { excludeCaches: true })), ["CACHEDIR.TAG", "a"]);
  });
});

describe("details", () => {
  it("are the target of a link, of any bytes, and all extended attributes", async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["file", "sub/other"]);
    symlinkSync(Buffer.from("\xff\n/..", "latin1"), path.join(folder, "sub/link"));
    const fd = openPath(raw(folder), OPEN.PATH);
    const attribute = { name: raw("user.note"), value: new Uint8Array([1, 0, 255]) };
    setXattrAt(fd, raw("file"), attribute);
    setXattrAt(fd, raw("sub"), attribute);
    closeFd(fd);
    const { source } = open(t, [folder]);
    const details = new Map<string, unknown>();
    for (const entry of await all(source)) details.set(`/${entry.path}`, source.details(entry));
    assert.deepEqual(details.get(path.join(folder, "file")), { xattrs: [attribute], target: undefined });
    assert.deepEqual(details.get(path.join(folder, "sub")), { xattrs: [attribute], target: undefined });
    assert.deepEqual(details.get(path.join(folder, "sub/link")), { xattrs: [], target: "\xff\n/.." });
    assert.ok(details.has("/"));
  });

  it("that cannot be had say of which file", async (t) => {
    const folder = temporaryFolder(t);
    symlinkSync("x", path.join(folder, "link"));
    const { source } = open(t, [folder]);
    const link = (await all(source)).at(-1) ?? assert.fail();
    unlinkSync(path.join(folder, "link"));
    assert.throws(() => source.details(link), {
      code: "ENOENT",
      message: `readlink ${folder}/link: no such file or directory (ENOENT)`,
    });
  });
});

describe("while others change things", () => {
  it("what vanishes after it was listed is reported as vanished, and the rest is saved", async (t) => {
    const folder = temporaryFolder(t);
    // More than a batch, so that the walk stops in the middle of the folder.
    make(
      folder,
      Array.from({ length: 2000 }, (_, index) => `f${String(index).padStart(4, "0")}`),
    );
    make(folder, ["sub/x", "z"]);
    const { source, problems } = open(t, [folder]);
    const entries: SourceEntry[] = [];
    for await (const batch of source.entries()) {
      if (entries.length === 0) {
        unlinkSync(path.join(folder, "f1999"));
        rmSync(path.join(folder, "sub"), { recursive: true });
      }
      entries.push(...batch);
    }
    assert.deepEqual(
      problems.map((problem) => [problem.path, isVanished(problem)]),
      ["f1999", "sub"].map((name) => [path.join(folder, name).slice(1), true]),
    );
    assert.deepEqual(below(folder, { entries }).slice(-2), ["f1998", "z"]);
  });

  /** A chain of 200 folders `d`, each with a file `z` beside the next, and 1,000 files at its end. */
  function makeChain(folder: string): void {
    let fd = openPath(raw(folder), OPEN.PATH);
    for (let level = 0; level < 200; level++) {
      makeDirectoryAt(fd, raw("d"), 0o755);
      makeNodeAt(fd, raw("z"), "file", 0o600);
      const next = openAt(fd, raw("d"), OPEN.PATH);
      closeFd(fd);
      fd = next;
    }
    for (let index = 0; index < 1000; index++) makeNodeAt(fd, raw(`f${index}`), "file", 0o600);
    closeFd(fd);
  }

  const level = (folder: string, depth: number): string =>
    path.join(folder, ...Array.from({ length: depth }, () => "d"));

  it("a folder moved away while the walk is deep in it is finished, and so is what it was in", async (t) => {
    const folder = temporaryFolder(t);
    makeChain(folder);
    const { source, problems } = open(t, [folder]);
    let entries = 0;
    for await (const batch of source.entries()) {
      // From there, the way up now leads elsewhere.
      if (entries === 0) {
        mkdirSync(path.join(folder, "elsewhere"));
        renameSync(level(folder, 20), path.join(folder, "elsewhere/d"));
      }
      entries += batch.length;
    }
    assert.deepEqual(problems, []);
    assert.equal(entries, folder.split("/").length + 200 + 200 + 1000);
  });

  it("a folder that cannot be found again on the way up is reported, with all that is left out", async (t) => {
    const folder = temporaryFolder(t);
    makeChain(folder);
    const { source, problems } = open(t, [folder]);
    const entries: SourceEntry[] = [];
    for await (const batch of source.entries()) {
      if (entries.length === 0) {
        renameSync(level(folder, 20), path.join(folder, "elsewhere"));
        renameSync(level(folder, 10), path.join(folder, "elsewhere too"));
      }
      entries.push(...batch);
    }
    assert.deepEqual(
      problems.map(({ path: at, during }) => [at, during]),
      Array.from({ length: 10 }, (_, index) => [level(folder, 19 - index).slice(1), "list"]),
    );
    const last = entries.filter(({ name }) => name === "z").map(({ path: at }) => at.split("/d").length - 1);
    assert.deepEqual(last.slice(-10), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert.equal(last.length, 190);
  });

  it("a folder swapped for a link never leads outside", { timeout: 60_000 }, async (t) => {
    const folder = temporaryFolder(t);
    const outside = temporaryFolder(t);
    make(outside, ["secret/file"]);
    for (let index = 0; index < 30; index++) make(folder, [`d${index}/secret/inner`, `d${index}/other`]);
    const stop = new SharedArrayBuffer(4);
    const swapper = new Worker(
      new URL(
        `data:text/javascript,${encodeURIComponent(`
          import { workerData } from "node:worker_threads";
          import { renameSync, symlinkSync, unlinkSync } from "node:fs";
          const { folder, outside, stop } = workerData;
          const stopped = new Int32Array(stop);
          for (let round = 0; Atomics.load(stopped, 0) === 0; round++) {
            const at = folder + "/d" + (round % 30);
            renameSync(at, at + ".away");
            symlinkSync(outside, at);
            unlinkSync(at);
            renameSync(at + ".away", at);
          }`)}`,
      ),
      { workerData: { folder, outside, stop } },
    );
    const ended = new Promise((resolve, reject) => {
      swapper.once("exit", resolve);
      swapper.once("error", reject);
    });
    try {
      let links = 0;
      let opened = 0;
      const until = performance.now() + 3000;
      while (performance.now() < until) {
        const { source } = open(t, [folder]);
        for (const entry of await all(source)) {
          assert.ok(!entry.path.endsWith("secret/file"), "went outside by walking");
          if (entry.stat.type === "symlink" && entry.path.includes("/d")) links++;
          if (entry.name !== "inner") continue;
          const content = source.content({ ...entry, path: entry.path.replace(/inner$/, "file") as RawPath });
          assert.ok(content.kind === "local");
          try {
            closeFd(openBeneath(content.rootFd, content.path, OPEN.READ));
            assert.fail("went outside by opening");
          } catch (error) {
            assert.ok(["ENOENT", "ELOOP", "ENOTDIR"].includes(errnoOf(error) ?? ""), String(error));
            opened++;
          }
        }
      }
      // Otherwise the race was never run.
      assert.ok(links > 0 && opened > 0, `${links} links seen, ${opened} files tried`);
    } finally {
      Atomics.store(new Int32Array(stop), 0, 1);
      await ended;
    }
  });
});

describe("what may not be read", () => {
  it("is reported, and the folder itself is saved", { skip: isRoot && "root may read everything" }, async (t) => {
    const folder = temporaryFolder(t);
    make(folder, ["closed/x", "open/x"]);
    chmodSync(path.join(folder, "closed"), 0o100);
    const walked = await walk(t, [folder]);
    assert.deepEqual(below(folder, walked), ["closed/", "open/", "open/x"]);
    assert.deepEqual(
      walked.problems.map(({ during, error }) => [during, errnoOf(error)]),
      [["list", "EACCES"]],
    );
  });

  it(
    "is reported to a user without rights, who still gets what is named below",
    { skip: skipUnless({ root: true }) },
    async (t) => {
      const folder = temporaryFolder(t);
      make(folder, ["closed/x", "closed/named/y", "open/x"]);
      chmodSync(folder, 0o755);
      chmodSync(path.join(folder, "closed"), 0o711);
      process.seteuid?.(65534);
      try {
        const named = await walk(t, [folder, path.join(folder, "closed/named")]);
        assert.deepEqual(below(folder, named), ["closed/", "closed/named/", "closed/named/y", "open/", "open/x"]);
        const walked = await walk(t, [folder]);
        assert.deepEqual(below(folder, walked), ["closed/", "open/", "open/x"]);
        assert.deepEqual(
          walked.problems.map(({ path: at, during, error }) => [at, during, errnoOf(error)]),
          [[path.join(folder, "closed").slice(1), "list", "EACCES"]],
        );
      } finally {
        process.seteuid?.(0);
      }
    },
  );
});
