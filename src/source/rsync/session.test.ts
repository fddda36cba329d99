import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { datedNames, openShelfTree } from "../../browse/rsync/snapshot-shelf.ts";
import { serveFetch } from "../../browse/rsync/serve-fetch.ts";
import type { SnapshotView } from "../../browse/snapshot-view.ts";
import {
  madeUpDevice,
  madeUpFile,
  madeUpFolder,
  madeUpLink,
  madeUpSnapshot,
  madeUpSpecial,
} from "../../browse/testing/memory-snapshot.ts";
import type { MadeUpEntry } from "../../browse/testing/memory-snapshot.ts";
import type { TreeEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { SourceEntry, StreamedFile } from "../source.ts";
import type { Basis } from "./protocol/basis.ts";
import { pullArguments, shellCommand } from "./remote-command.ts";
import type { PullProfile } from "./remote-command.ts";
import { openSourceOver } from "./rsync-source.ts";
import type { RsyncSource, RsyncSourceOptions } from "./rsync-source.ts";
import { connect } from "./testing/connection.ts";

interface Pulled {
  readonly source: RsyncSource;
  readonly entries: readonly SourceEntry[];
  readonly contents: ReadonlyMap<string, Buffer>;
  readonly problems: readonly string[];
}

interface PullOptions extends Partial<RsyncSourceOptions> {
  readonly profile?: PullProfile;
}

/** Pulls a snapshot with our client from our server. */
async function pullFrom(view: SnapshotView, options: PullOptions = {}): Promise<Pulled> {
  const { profile = "full", compress = false, paths = ["/s"] } = options;
  const connection = connect();
  const words = pullArguments({ paths, oneFileSystem: false, compress, profile });
  const shelf = { list: () => Promise.resolve([{ name: "s", timeMs: 0, open: () => Promise.resolve(view) }]) };
  void serveFetch(connection.server, shellCommand(words), shelf).then(connection.serverEnded);
  const problems: string[] = [];
  const source = await openSourceOver(
    connection.client,
    {
      remote: undefined,
      paths,
      onProblem: ({ path, error }) => problems.push(`${path}: ${String(error)}`),
      ...options,
    },
    profile,
  ).catch((error: unknown) => {
    throw new Error(connection.complaints(), { cause: error });
  });
  const entries: SourceEntry[] = [];
  const contents = new Map<string, Buffer>();
  let reading = Promise.resolve();
  for await (const batch of source.entries()) {
    for (const entry of batch) {
      entries.push(entry);
      if (entry.stat.type !== "file") continue;
      const content = source.content(entry);
      if (content.kind !== "stream") throw new Error("a pulled file is a stream");
      reading = reading.then(async () => {
        contents.set(entry.path, await readAll(content));
      });
    }
  }
  await reading;
  return { source, entries, contents, problems };
}

/** As `pullFrom`, but goes on where a file cannot be read. */
async function pullPatiently(view: SnapshotView, newestProtocol: number) {
  const profile = newestProtocol < 30 ? "plain" : "full";
  const connection = connect();
  const words = pullArguments({ paths: ["/s"], oneFileSystem: false, compress: false, profile });
  const shelf = { list: () => Promise.resolve([{ name: "s", timeMs: 0, open: () => Promise.resolve(view) }]) };
  const exit = serveFetch(connection.server, shellCommand(words), shelf);
  void exit.then(connection.serverEnded);
  const options = { remote: undefined, paths: ["/s"], newestProtocol, onProblem: () => undefined };
  const source = await openSourceOver(connection.client, options, profile);
  const wanted: [string, StreamedFile][] = [];
  for await (const batch of source.entries()) {
    for (const entry of batch) {
      const content = entry.stat.type === "file" ? source.content(entry) : undefined;
      if (content?.kind === "stream") wanted.push([entry.path, content]);
    }
  }
  const contents = new Map<string, string>();
  const failures: string[] = [];
  for (const [path, content] of wanted) {
    await readAll(content).then(
      (bytes) => contents.set(path, bytes.toString()),
      (error: unknown) => failures.push(`${path}: ${(error as Error).name}`),
    );
  }
  await source.close();
  return { contents, failures, exitCode: await exit };
}

async function readAll(content: StreamedFile): Promise<Buffer> {
  const all: Uint8Array[] = [];
  try {
    for await (const piece of content.pieces()) all.push(piece);
  } catch (error) {
    if ((error as Error).name !== "ContentToReadAgainError") throw error;
    all.length = 0;
    for await (const piece of content.pieces()) all.push(piece);
  }
  return Buffer.concat(all);
}

/** Everything below a view's top, in walk order. */
async function listAll(view: SnapshotView): Promise<[path: string, entry: TreeEntry][]> {
  const found: [string, TreeEntry][] = [];
  const descend = async (path: string, entry: TreeEntry): Promise<void> => {
    found.push([path, entry]);
    if (entry.type !== "directory") return;
    for await (const child of view.list(entry)) await descend(`${path}/${child.name}`, child);
  };
  await descend("s", view.top);
  return found;
}

const name = fc
  .uint8Array({ minLength: 1, maxLength: 12 })
  .map((bytes) => Buffer.from(bytes).toString("latin1").replaceAll(/[\0/]/g, "-"))
  .filter((text) => text !== "." && text !== "..");

const attributes = fc.record({
  mode: fc.nat(0o7777),
  uid: fc.constantFrom(0, 1, 1000, 4_294_967_294),
  gid: fc.constantFrom(0, 33, 70_000),
  user: fc.constantFrom("root", "ann", ""),
  mtimeSeconds: fc.oneof(fc.integer({ min: -(2 ** 33), max: 2 ** 34 }), fc.constantFrom(0, 1_700_000_000)),
  mtimeNanoseconds: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
  xattrs: fc
    .uniqueArray(
      fc.record({
        name: fc.constantFrom("user.a", "user.long", "security.capability", "trusted.x").map((text) => text as RawPath),
        value: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 33, maxLength: 500 })),
      }),
      { selector: (attribute) => attribute.name, maxLength: 3 },
    )
    .map((list) => list.toSorted((a, b) => (a.name < b.name ? -1 : 1))),
});

const content = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.tuple(fc.nat(), fc.integer({ min: 0, max: 100_000 })).map(([seed, length]) => noise(seed, length)),
);

function noise(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed | 1;
  for (let i = 0; i < length; i++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + i;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

const leaf: fc.Arbitrary<MadeUpEntry> = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(content, attributes).map(([bytes, more]) => madeUpFile([bytes], more)) },
  fc
    .tuple(content, fc.nat(2))
    .map(([bytes, group]) => madeUpFile([bytes.subarray(0, 0)], { hardLink: Buffer.alloc(16, group) })),
  fc.tuple(name, attributes).map(([target, more]) => madeUpLink(target, { ...more, mode: 0o777 })),
  fc
    .tuple(fc.constantFrom("fifo" as const, "socket" as const), attributes)
    .map(([type, more]) => madeUpSpecial(type, more)),
  fc
    .tuple(fc.constantFrom("char" as const, "block" as const), fc.nat(4095), fc.nat(1_048_575), attributes)
    .map(([type, major, minor, more]) => madeUpDevice(type, major, minor, more)),
);

const { folder } = fc.letrec<{ folder: MadeUpEntry; node: MadeUpEntry }>((tie) => ({
  node: fc.oneof({ depthSize: "small", withCrossShrink: true }, leaf, tie("folder")),
  folder: fc
    .tuple(fc.dictionary(name, tie("node"), { maxKeys: 8 }), attributes)
    .map(([children, more]) => madeUpFolder(children, { ...more, rawNames: true })),
}));

describe("our client pulling from our server", () => {
  const forms: [title: string, options: PullOptions, has: "all" | "plain"][] = [
    ["protocol 31", {}, "all"],
    ["protocol 31, compressed", { compress: true }, "all"],
    ["protocol 30", { newestProtocol: 30 }, "all"],
    ["protocol 31 in the plainest form", { profile: "plain" }, "plain"],
    ["protocol 29", { newestProtocol: 29, profile: "plain" }, "plain"],
  ];
  for (const [title, options, has] of forms) {
    it(`brings any tree over as it is: ${title}`, async () => {
      await fc.assert(
        fc.asyncProperty(folder, async (made) => {
          const { view } = madeUpSnapshot(made);
          const pulled = await pullFrom(view, options);
          const expected = await listAll(view);
          assert.deepEqual(
            pulled.entries.slice(1).map(({ path }) => path),
            expected.map(([path]) => path),
          );
          for (const [i, [path, entry]] of expected.entries()) {
            await assertSame(
              pulled,
              pulled.entries[i + 1],
              path,
              entry,
              view,
              has === "all",
              options.newestProtocol ?? 31,
            );
          }
          await pulled.source.close();
          assert.deepEqual(pulled.problems, []);
        }),
        { numRuns: 40 },
      );
    });
  }

  async function assertSame(
    { source, contents }: Pulled,
    pulled: SourceEntry,
    path: string,
    entry: TreeEntry,
    view: SnapshotView,
    full: boolean,
    protocol: number,
  ): Promise<void> {
    const { stat } = pulled;
    assert.equal(stat.type, entry.type, path);
    assert.equal(stat.mode, entry.mode, path);
    assert.deepEqual([stat.uid, stat.gid], [entry.uid, entry.gid], path);
    if (protocol >= 30) assert.equal(stat.mtimeSeconds, entry.mtimeSeconds, path);
    if (protocol >= 31) assert.equal(stat.mtimeNanoseconds, entry.mtimeNanoseconds, path);
    const details = source.details(pulled);
    if (full) {
      assert.deepEqual(
        details.xattrs.map((attribute) => [attribute.name, Buffer.from(attribute.value)]),
        entry.xattrs.map((attribute) => [attribute.name, Buffer.from(attribute.value)]),
        path,
      );
    }
    if (entry.type === "symlink") assert.equal(details.target, entry.target);
    if (entry.type === "char" || entry.type === "block") {
      assert.deepEqual([stat.rdevMajor, stat.rdevMinor], [entry.major, entry.minor], path);
    }
    if (entry.type === "file") {
      assert.deepEqual(contents.get(pulled.path), Buffer.from(await view.read(entry, 0, entry.sizeBytes)), path);
    }
  }

  it("joins the names of a hard link, and counts them", async () => {
    const link = { hardLink: Buffer.alloc(16, 7) };
    const { view } = madeUpSnapshot(
      madeUpFolder({
        b: madeUpFile("x", link),
        a: madeUpFolder({ c: madeUpFile("x", link) }),
        single: madeUpFile("x"),
      }),
    );
    for (const newestProtocol of [31, 30]) {
      const { entries, source } = await pullFrom(view, { newestProtocol });
      const linked = entries.filter(({ stat }) => stat.links > 1);
      assert.deepEqual(
        linked.map(({ path }) => path),
        ["s/a/c", "s/b"],
      );
      assert.equal(new Set(linked.map(({ stat }) => `${stat.inodeHigh}:${stat.inodeLow}`)).size, 1);
      assert.deepEqual(
        linked.map(({ stat }) => stat.links),
        [2, 2],
      );
      await source.close();
    }
  });

  it("gives the same stand-in for an inode and a ctime the next time, and another when something has changed", async () => {
    const link = { hardLink: Buffer.alloc(16, 7) };
    const stats = async (mode: number, value: string) => {
      const xattrs = [{ name: "user.a" as RawPath, value: Buffer.from(value) }];
      const files = { a: madeUpFile("x", link), b: madeUpFile("x", link), c: madeUpFile("c", { mode, xattrs }) };
      const { entries, source } = await pullFrom(madeUpSnapshot(madeUpFolder(files)).view);
      await source.close();
      return new Map(entries.map(({ path, stat }) => [path, stat]));
    };
    const first = await stats(0o644, "one");
    assert.deepEqual(await stats(0o644, "one"), first);
    for (const changed of [await stats(0o600, "one"), await stats(0o644, "two")]) {
      assert.deepEqual(changed.get("s/a" as RawPath), first.get("s/a" as RawPath));
      assert.notDeepEqual(
        changed.get("s/c" as RawPath)?.ctimeNanoseconds,
        first.get("s/c" as RawPath)?.ctimeNanoseconds,
      );
    }
  });

  it("sends only what differs from a basis, whatever was inserted, removed or swapped", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom("insert", "remove", "swap", "keep"), fc.nat(60_000), fc.nat(3000)), {
          maxLength: 4,
        }),
        fc.constantFrom<PullOptions>(
          {},
          { compress: true },
          { newestProtocol: 30 },
          { newestProtocol: 29, profile: "plain" },
        ),
        async (changes, options) => {
          const old = noise(7, 60_000);
          let current = Buffer.from(old);
          for (const [kind, place, length] of changes) {
            const [before, after] = [current.subarray(0, place), current.subarray(place)];
            if (kind === "insert") current = Buffer.concat([before, noise(length, length), after]);
            else if (kind === "remove") current = Buffer.concat([before, after.subarray(length)]);
            else if (kind === "swap") current = Buffer.concat([after, before]);
          }
          const { view } = madeUpSnapshot(madeUpFolder({ file: madeUpFile([current]) }));
          const pulled = await pullFrom(view, { ...options, previous: () => Promise.resolve(basisOf(old)) });
          assert.deepEqual(pulled.contents.get("s/file"), current);
          const { literalBytes } = pulled.source.traffic();
          assert.ok(literalBytes <= 4 * (3000 + 2 * 700) + 700, `${literalBytes} literal bytes`);
          await pulled.source.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  it("reads a file again whose basis was not what its sums said, and those behind it in order", async () => {
    const old = noise(1, 2_500_000);
    const others = new Map(Array.from({ length: 30 }, (_, i) => [`f${String(i).padStart(2, "0")}`, noise(i, 5000)]));
    const made = Object.fromEntries([...others].map(([each, bytes]) => [each, madeUpFile([bytes])]));
    const { view } = madeUpSnapshot(madeUpFolder({ "a-first": madeUpFile([old]), ...made }));
    let sumsAreMade = false;
    // The sums are made of what is read first; what the file is then put together from is something else.
    const changing: Basis = {
      sizeBytes: old.length,
      read: (offset, length) => {
        const bytes = sumsAreMade ? new Uint8Array(length) : Uint8Array.from(old.subarray(offset, offset + length));
        sumsAreMade ||= offset + length === old.length;
        return Promise.resolve(bytes);
      },
    };
    const pulled = await pullFrom(view, {
      previous: (path) => Promise.resolve(path === "s/a-first" ? changing : undefined),
    });
    assert.ok(pulled.source.traffic().matchedBytes > 0, "it was tried with the basis");
    assert.ok(pulled.source.traffic().literalBytes > old.length, "and then sent whole");
    assert.deepEqual(pulled.contents.get("s/a-first"), old);
    for (const [each, bytes] of others) assert.deepEqual(pulled.contents.get(`s/${each}`), bytes, each);
    await pulled.source.close();
  });

  it("reports a file that cannot be read on, and goes on with the next", async () => {
    for (const newestProtocol of [31, 30, 29]) {
      const files = { bad: madeUpFile(["one", "two"]), good: madeUpFile("good"), last: madeUpFile(["gone"]) };
      const { view, store } = madeUpSnapshot(madeUpFolder(files));
      for await (const entry of view.list(view.top)) {
        if (entry.type === "file" && entry.name !== "good") store.lose(entry.content[entry.content.length - 1].id);
      }
      const { contents, failures, exitCode } = await pullPatiently(view, newestProtocol);
      assert.deepEqual([...contents], [["s/good", "good"]], `protocol ${newestProtocol}`);
      assert.deepEqual(
        failures,
        ["s/bad: FileUnreadableError", "s/last: FileUnreadableError"],
        `protocol ${newestProtocol}`,
      );
      assert.equal(exitCode, 23);
    }
  });

  it("lists the shelf by date, with a link to the latest", async () => {
    const { view } = madeUpSnapshot(madeUpFolder({ a: madeUpFile("a") }));
    const snapshots = ["2026-11-19T03:00", "2026-11-20T03:00"].map((each) => ({
      name: each,
      timeMs: 0,
      open: () => Promise.resolve(view),
    }));
    const tree = openShelfTree({ list: () => Promise.resolve(snapshots) });
    const names: string[] = [];
    for await (const { entry } of tree.list(tree.top)) names.push(entry.name);
    assert.deepEqual(names, ["2026-11-19T03:00", "2026-11-20T03:00", "latest"]);
    assert.equal((await tree.lookup("latest/a" as RawPath))?.entry.type, "file");
    assert.equal(await tree.lookup("2026-11-21T03:00/a" as RawPath), undefined);
  });

  it("finds a snapshot by any spelling of its date, and the last one of a day or an hour", async () => {
    const { view } = madeUpSnapshot(madeUpFolder({ a: madeUpFile("a") }));
    const times = ["2026-11-19T03:00:07.123Z", "2026-11-20T03:00:07.123Z", "2026-11-20T03:00:09Z", "2026-11-20T07:30Z"];
    const timesMs = times.map((time) => Date.parse(time));
    const snapshots = datedNames(timesMs).map((each, i) => ({
      name: each,
      timeMs: timesMs[i],
      open: () => Promise.resolve(view),
    }));
    const tree = openShelfTree({ list: () => Promise.resolve(snapshots) });
    for (const [spelling, found] of [
      ["2026-11-19", 0],
      ["2026-11-19T03:00", 0],
      ["2026-11-19T03:00:07Z", 0],
      ["2026-11-19 03:00", 0],
      ["2026-11-19_0300", 0],
      ["2026-11-20T03:00:07", 1],
      ["2026-11-20T03:00:07.123", 1],
      ["2026-11-20T03:00", 2],
      ["2026-11-20T03", 2],
      ["2026-11-20", 3],
      ["2026-11", 3],
      ["2026-11-18", -1],
      ["2026-11-20T0", -1],
      ["2026-1", -1],
    ] as const) {
      const node = await tree.lookup(spelling as RawPath);
      assert.equal(node?.entry.name, found < 0 ? undefined : snapshots[found].name, spelling);
    }
  });
});

function basisOf(bytes: Buffer): Basis {
  return {
    sizeBytes: bytes.length,
    read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
  };
}
