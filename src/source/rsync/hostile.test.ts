import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { serveFetch } from "../../browse/rsync/serve-fetch.ts";
import { madeUpFile, madeUpFolder, madeUpLink, madeUpSnapshot } from "../../browse/testing/memory-snapshot.ts";
import { HoldfastError } from "../../errors.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { FileUnreadableError } from "../source.ts";
import type { Source, StreamedFile } from "../source.ts";
import { acceptPush } from "./accept-push.ts";
import type { Basis } from "./protocol/basis.ts";
import { ByteOutput } from "./protocol/byte-output.ts";
import { ENTRY_FLAG } from "./protocol/file-list-decoder.ts";
import { MODE } from "./protocol/file-list.ts";
import { ITEM, IndexWriter } from "./protocol/items.ts";
import { RsyncFailedError, RsyncProtocolError } from "./protocol/rsync-error.ts";
import { pullArguments, shellCommand } from "./remote-command.ts";
import type { RemoteProcess } from "./remote-process.ts";
import { openSourceOver } from "./rsync-source.ts";
import type { RsyncSourceOptions } from "./rsync-source.ts";
import { clientSaying, connect, record, serverSaying } from "./testing/connection.ts";

const BASIS = Buffer.from("the quick brown fox jumps over the lazy dog ".repeat(200));

interface Outcome {
  readonly paths: readonly string[];
  readonly contents: ReadonlyMap<string, string>;
  readonly unreadable: readonly string[];
}

/** Takes everything that a peer sends, as a backup would. */
async function takeAll(remote: RemoteProcess, options: Partial<RsyncSourceOptions> = {}): Promise<Outcome> {
  const basis: Basis = {
    sizeBytes: BASIS.length,
    read: (at, length) => Promise.resolve(BASIS.subarray(at, at + length)),
  };
  const source = await openSourceOver(
    remote,
    {
      remote: undefined,
      paths: ["/s"],
      onProblem: () => undefined,
      previous: () => Promise.resolve(basis),
      mostFiles: 10_000,
      silenceMs: 2000,
      ...options,
    },
    "full",
  );
  try {
    return await drain(source);
  } finally {
    await source.close();
  }
}

async function drain(source: Source): Promise<Outcome> {
  const paths: string[] = [];
  const contents = new Map<string, string>();
  const unreadable: string[] = [];
  const files: [string, StreamedFile][] = [];
  for await (const batch of source.entries()) {
    for (const entry of batch) {
      paths.push(entry.path);
      const content = entry.stat.type === "file" ? source.content(entry) : undefined;
      if (content?.kind === "stream") files.push([entry.path, content]);
      else source.details(entry);
    }
    for (const [path, content] of files.splice(0)) {
      try {
        contents.set(path, await textOf(content));
      } catch (error) {
        if (!(error instanceof FileUnreadableError)) throw error;
        unreadable.push(path);
      }
    }
  }
  return { paths, contents, unreadable };
}

async function textOf(content: StreamedFile): Promise<string> {
  for (let tries = 0; ; tries++) {
    let text = "";
    try {
      for await (const piece of content.pieces()) text += Buffer.from(piece).toString("latin1");
      return text;
    } catch (error) {
      if ((error as Error).name !== "ContentToReadAgainError" || tries > 0) throw error;
    }
  }
}

/** Our own errors, which name what is wrong: anything else is a fault of ours. */
function isNamed(error: unknown): boolean {
  return error instanceof HoldfastError || error instanceof FileUnreadableError;
}

function sample() {
  const long = { name: "user.long" as RawPath, value: Buffer.alloc(200, 3) };
  const acl = Buffer.from(
    "0200000001000700ffffffff02000500d204000004000500ffffffff10000500ffffffff20000500ffffffff",
    "hex",
  );
  const link = { hardLink: Buffer.alloc(16, 1) };
  return madeUpSnapshot(
    madeUpFolder({
      a: madeUpFile(BASIS.toString(), { xattrs: [long] }),
      b: madeUpFolder(
        { c: madeUpFile("content", link), d: madeUpLink("c") },
        { xattrs: [{ name: "system.posix_acl_access" as RawPath, value: acl }, long] },
      ),
      e: madeUpFile("content", link),
      f: madeUpFile(["x".repeat(5000), BASIS.toString()]),
    }),
  ).view;
}

interface RecordedSession {
  readonly fromServer: readonly Buffer[];
  readonly fromClient: readonly Buffer[];
  readonly command: string;
}

/** What both ends say when all is well. */
async function recordSession(compress: boolean): Promise<RecordedSession> {
  const connection = connect();
  const fromServer = record(connection.client.transport.input);
  const fromClient = record(connection.server.input);
  const command = shellCommand(pullArguments({ paths: ["/s"], oneFileSystem: false, compress, profile: "full" }));
  const shelf = { list: () => Promise.resolve([{ name: "s", timeMs: 0, open: () => Promise.resolve(sample()) }]) };
  void serveFetch(connection.server, command, shelf).then(connection.serverEnded);
  await takeAll(connection.client, { compress });
  return { fromServer, fromClient, command };
}

type Mutation =
  | { readonly kind: "flip"; readonly at: number; readonly bit: number }
  | { readonly kind: "set"; readonly at: number; readonly byte: number }
  | { readonly kind: "cut" | "drop" | "double"; readonly at: number; readonly length: number };

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(20_000), bit: fc.nat(7) }),
  fc.record({
    kind: fc.constant("set" as const),
    at: fc.nat(20_000),
    byte: fc.constantFrom(0, 1, 0x7f, 0x80, 0xfe, 0xff),
  }),
  fc.record({
    kind: fc.constantFrom("cut" as const, "drop" as const, "double" as const),
    at: fc.nat(20_000),
    length: fc.integer({ min: 1, max: 40 }),
  }),
);

/** Most of what can be broken stands at the beginning; the rest is anywhere. */
function mutate(parts: readonly Buffer[], mutations: readonly Mutation[]): Buffer[] {
  const mutated = parts.map((part) => Buffer.from(part));
  const total = mutated.reduce((sum, part) => sum + part.length, 0);
  for (const each of mutations) {
    let at = each.at % (each.at % 3 === 0 ? total : Math.min(total, 700));
    const place = mutated.findIndex((part) => at < part.length || ((at -= part.length), false));
    const part = mutated[place];
    if (part === undefined) continue;
    if (each.kind === "flip") part[at] ^= 1 << each.bit;
    else if (each.kind === "set") part[at] = each.byte;
    else if (each.kind === "cut") mutated.splice(place, mutated.length, part.subarray(0, at));
    else if (each.kind === "drop")
      mutated[place] = Buffer.concat([part.subarray(0, at), part.subarray(at + each.length)]);
    else mutated[place] = Buffer.concat([part.subarray(0, at + each.length), part.subarray(at)]);
  }
  return mutated;
}

const runs = Number(process.env.HOLDFAST_FUZZ_RUNS ?? 300);

describe("a peer that sends anything at all", () => {
  for (const compress of [false, true]) {
    it(`as a server gets named errors out of us, and nothing else (${compress ? "compressed" : "plain"})`, async () => {
      const { fromServer } = await recordSession(compress);
      await fc.assert(
        fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
          try {
            const { contents } = await takeAll(serverSaying(...mutate(fromServer, mutations)), { compress });
            // A sum guards each content: what comes is right, or said to be unreadable.
            for (const [path, text] of contents) assert.ok(ALLOWED.has(text), `wrong content for ${path}`);
          } catch (error) {
            if (!isNamed(error)) throw error;
          }
        }),
        { numRuns: runs },
      );
    });

    it(`as a client that fetches gets told, and does no harm (${compress ? "compressed" : "plain"})`, async () => {
      const { fromClient, command } = await recordSession(compress);
      const shelf = { list: () => Promise.resolve([{ name: "s", timeMs: 0, open: () => Promise.resolve(sample()) }]) };
      await fc.assert(
        fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
          const exitCode = await serveFetch(clientSaying(...mutate(fromClient, mutations)), command, shelf);
          assert.ok(Number.isInteger(exitCode));
        }),
        { numRuns: runs },
      );
    });
  }

  it("as a client that pushes gets told, and makes no snapshot of it", async () => {
    const recorded = pushOf((list) => {
      list.directory("d");
      list.file("d/f", 7);
      list.file("g", 3);
    });
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
        let saved = false;
        const exitCode = await acceptPush(clientSaying(...mutate(recorded, mutations)), PUSH, {
          onProblem: () => undefined,
          previous: () => Promise.resolve(undefined),
          previousTree: () => Promise.resolve(undefined),
          save: async (source) => {
            await drain(source);
            await source.finish?.();
            saved = true;
          },
        });
        assert.equal(saved, false, "the client never came to its end");
        assert.notEqual(exitCode, 0);
      }),
      { numRuns: runs },
    );
  });
});

const ALLOWED = new Set([BASIS.toString("latin1"), "content", "x".repeat(5000) + BASIS.toString("latin1"), ""]);
const PUSH = "rsync --server -logDtpre.LsfxCvu . .";

/** Writes lists of files as an honest rsync would not. */
class ListWriter {
  readonly to = new ByteOutput();

  entry(flags: number, name: string | Buffer, rest: (to: ByteOutput) => void): void {
    const bytes = Buffer.from(name as string);
    this.to.varint(flags | (bytes.length > 255 ? ENTRY_FLAG.longName : 0) || ENTRY_FLAG.extended);
    if (bytes.length > 255) this.to.varint(bytes.length);
    else this.to.byte(bytes.length);
    this.to.raw(bytes);
    rest(this.to);
  }

  attributes(sizeBytes: number, mode: number): (to: ByteOutput) => void {
    return (to) => {
      to.varlong(sizeBytes, 3);
      to.varlong(1_700_000_000, 4);
      to.int32(mode);
      to.varint(0);
      to.varint(0);
    };
  }

  file(name: string | Buffer, sizeBytes: number): void {
    this.entry(0, name, this.attributes(sizeBytes, MODE.file | 0o644));
  }

  directory(name: string): void {
    this.entry(0, name, this.attributes(4096, MODE.directory | 0o755));
  }

  symlink(name: string, target: string): void {
    this.entry(0, name, (to) => {
      this.attributes(target.length, MODE.symlink | 0o777)(to);
      to.varint(target.length);
      to.raw(Buffer.from(target));
    });
  }
}

/** Wraps bytes as the data of a multiplexed stream. */
function wrapped(bytes: Buffer, tag = 7): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(tag * 2 ** 24 + bytes.length);
  return Buffer.concat([header, bytes]);
}

/** What a server says: its greeting (with the flags of a modern one), then this. */
function serverParts(...parts: readonly Buffer[]): Buffer[] {
  const greeting = new ByteOutput();
  greeting.int32(31);
  greeting.varint(0x1fa);
  greeting.vstring(Buffer.from("md5"));
  greeting.int32(1);
  return [greeting.take(), ...parts];
}

function pushOf(write: (list: ListWriter) => void): Buffer[] {
  const greeting = new ByteOutput();
  greeting.int32(31);
  greeting.vstring(Buffer.from("md5"));
  return [greeting.take(), wrapped(ended(write))];
}

/** A list with its end, and no names of owners. */
function ended(write: (list: ListWriter) => void): Buffer {
  const list = new ListWriter();
  write(list);
  list.to.varint(0);
  list.to.varint(0);
  for (let names = 0; names < 2; names++) {
    list.to.varint(0);
    list.to.byte(0);
  }
  return list.to.take();
}

/** The form that lists have here: as `pullArguments` asks for, but without ACLs, attributes and links on the wire. */
const pullPlain = (parts: readonly Buffer[], options: Partial<RsyncSourceOptions> = {}): Promise<Outcome> =>
  takeAllPlain(serverSaying(...parts), options);

async function takeAllPlain(remote: RemoteProcess, options: Partial<RsyncSourceOptions>): Promise<Outcome> {
  const source = await openSourceOver(
    remote,
    { remote: undefined, paths: ["/s"], onProblem: () => undefined, mostFiles: 10_000, silenceMs: 2000, ...options },
    "plain",
  );
  try {
    return await drain(source);
  } finally {
    await source.close();
  }
}

/** As `ended`, for the plain form: ids are numeric, so no names follow. */
function plainList(write: (list: ListWriter) => void): Buffer {
  const list = new ListWriter();
  write(list);
  list.to.varint(0);
  list.to.varint(0);
  return list.to.take();
}

describe("a line that is cut", () => {
  it("anywhere ends a pull with a named error, never with half a list or a wrong content", async () => {
    const { fromServer } = await recordSession(false);
    const all = Buffer.concat(fromServer);
    const whole = await takeAll(serverSaying(...fromServer));
    for (let length = 0; length < all.length; length += 61) {
      let left = length;
      const parts = fromServer.map((part) => {
        const kept = part.subarray(0, Math.max(0, left));
        left -= part.length;
        return kept;
      });
      try {
        const { paths, contents } = await takeAll(serverSaying(...parts));
        assert.deepEqual(paths, whole.paths, `cut after ${length}`);
        for (const [path, text] of contents) assert.equal(text, whole.contents.get(path), `cut after ${length}`);
      } catch (error) {
        if (!(error instanceof RsyncFailedError)) throw error;
      }
    }
  });
});

describe("a sender that lies", () => {
  const refused: [title: string, message: RegExp, write: (list: ListWriter) => void][] = [
    ["names a file above the top", /unsafe name, "\.\.\/x": it has a part \.\./, (list) => list.file("../x", 1)],
    ["hides .. in the middle", /part \.\./, (list) => list.file("a/../../x", 1)],
    ["ends with ..", /part \.\./, (list) => list.directory("a/..")],
    ["has a part .", /part \./, (list) => list.file("a/./x", 1)],
    ["has an empty part", /empty part/, (list) => list.file("a//x", 1)],
    ["ends with a slash", /empty part/, (list) => list.directory("a/")],
    ["has a NUL in a name", /NUL/, (list) => list.file(Buffer.from("a\0b"), 1)],
    ["has no name at all", /path is empty/, (list) => list.file("", 1)],
    ["has a top that is a file", /top of the list is not a directory/, (list) => list.file(".", 1)],
    [
      "lists a link and a file below it",
      /below "a", which it also lists as something that is no directory/,
      (list) => {
        list.symlink("a", "/etc");
        list.file("a/passwd", 1);
      },
    ],
    [
      "lists a file and a file below it",
      /no directory/,
      (list) => {
        list.file("a", 1);
        list.file("a/b", 1);
      },
    ],
    [
      "mixes absolute and relative paths",
      /absolute and relative/,
      (list) => {
        list.file("/a", 1);
        list.file("b", 1);
      },
    ],
    ["has a path that is too long", /path is too long/, (list) => list.file("x".repeat(4096), 1)],
    [
      "announces a path of 2 GiB",
      /path is too long/,
      (list) => {
        list.to.varint(ENTRY_FLAG.longName);
        list.to.varint(0x7fffffff);
      },
    ],
    [
      "continues a path that is not there",
      /continues what is not there/,
      (list) => {
        list.to.varint(ENTRY_FLAG.sameName);
        list.to.byte(200);
        list.to.byte(1);
        list.to.raw(Buffer.from("x"));
      },
    ],
    ["has a file of no type", /mode is 0644/, (list) => list.entry(0, "a", list.attributes(1, 0o644))],
    ["has a mode of more than 16 bits", /mode is/, (list) => list.entry(0, "a", list.attributes(1, 0x7fff_81a4))],
    ["has a negative size", /size is negative/, (list) => list.entry(0, "a", list.attributes(-5, MODE.file))],
    [
      "has more nanoseconds than there are",
      /nanoseconds/,
      (list) =>
        list.entry(ENTRY_FLAG.nanoseconds, "a", (to) => {
          to.varlong(1, 3);
          to.varlong(1, 4);
          to.varint(1_000_000_000);
        }),
    ],
    [
      "sends a hard link that nobody asked for",
      /hard link, although/,
      (list) => {
        list.file("a", 1);
        list.entry(ENTRY_FLAG.hardLinked, "b", (to) => to.varint(0));
      },
    ],
    [
      "announces a target of a link of 2 GiB",
      /target is too long/,
      (list) =>
        list.entry(0, "a", (to) => {
          list.attributes(1, MODE.symlink | 0o777)(to);
          to.varint(0x7fffffff);
        }),
    ],
    [
      "lists more files than there may be",
      /more than 10000 files/,
      (list) => {
        for (let i = 0; i < 10_001; i++) list.file(`f${i}`, 1);
      },
    ],
  ];
  for (const [title, message, write] of refused) {
    it(`is refused when it ${title}`, async () => {
      await assert.rejects(pullPlain(serverParts(wrapped(plainList(write)))), (error) => {
        assert.ok(error instanceof RsyncProtocolError, String(error));
        assert.match(error.message, message);
        return true;
      });
    });
  }

  it("lists a name twice, and the first counts", async () => {
    const bytes = serverParts(
      wrapped(
        plainList((list) => {
          list.file("same", 0);
          list.symlink("same", "second");
          list.directory("folder");
          list.file("folder", 0);
          list.directory("folder");
        }),
      ),
    );
    const { paths } = await pullPlain(bytes);
    assert.deepEqual(paths, ["", "folder", "same"]);
  });

  it("has a name that is too long to keep: it is reported, with all below it", async () => {
    const problems: string[] = [];
    const long = "x".repeat(256);
    const bytes = serverParts(
      wrapped(
        plainList((list) => {
          list.directory(long);
          list.file(`${long}/below`, 0);
          list.file("z", 0);
        }),
      ),
    );
    const { paths } = await pullPlain(bytes, { onProblem: ({ error }) => problems.push(String(error)) });
    assert.deepEqual(paths, ["", "z"]);
    assert.match(problems.join(), /longer than 255 bytes/);
  });

  const one = plainList((list) => list.file("f", 5));
  const answer = (write: (to: ByteOutput) => void): Buffer[] => {
    const to = new ByteOutput();
    write(to);
    return serverParts(wrapped(one), wrapped(to.take()));
  };
  const item = (to: ByteOutput, index: number, flags: number = ITEM.transfer): void => {
    new IndexWriter(31).write(to, index);
    to.shortInt(flags);
  };
  const sumHead = (to: ByteOutput, ...numbers: [number, number, number, number]): void =>
    numbers.forEach((each) => to.int32(each));
  const answers: [title: string, message: RegExp, write: (to: ByteOutput) => void][] = [
    ["sends a file that nobody asked for", /comes without being asked for|comes where/, (to) => item(to, 3)],
    [
      "sends a number of a file that is beyond all",
      /impossible file number|without being asked/,
      (to) => {
        to.raw(Buffer.from([0xfe, 0xff, 0xff, 0xff, 0xff]));
        to.shortInt(0);
      },
    ],
    ["ends before its time", /ends a phase before its time/, (to) => to.byte(0)],
    [
      "sends attributes that nobody asked for",
      /attributes come without/,
      (to) => item(to, 0, ITEM.transfer | ITEM.reportXattrs),
    ],
    [
      "has other sums than ours",
      /other sums than ours/,
      (to) => {
        item(to, 0);
        sumHead(to, 7, 700, 2, 0);
      },
    ],
    [
      "has an impossible count of blocks",
      /impossible count/,
      (to) => {
        item(to, 0);
        sumHead(to, -1, 700, 2, 0);
      },
    ],
    [
      "has blocks without a length",
      /impossible length of blocks/,
      (to) => {
        item(to, 0);
        sumHead(to, 1, 0, 2, 0);
      },
    ],
    [
      "names a block of a file that we do not have",
      /there is no block 4/,
      (to) => {
        item(to, 0);
        sumHead(to, 0, 0, 0, 0);
        to.int32(-5);
      },
    ],
    [
      "announces a basis that is not there",
      /there is no block 0/,
      (to) => {
        item(to, 0, ITEM.transfer | ITEM.basisTypeFollows | ITEM.nameFollows);
        to.byte(0x83);
        to.vstring(Buffer.from("../../../etc/shadow"));
        sumHead(to, 0, 0, 0, 0);
        to.int32(-1);
      },
    ],
    [
      "stops in the middle of a file",
      /closed before the end/,
      (to) => {
        item(to, 0);
        sumHead(to, 0, 0, 0, 0);
        to.int32(1_000_000);
        to.raw(Buffer.from("hel"));
      },
    ],
  ];
  for (const [title, message, write] of answers) {
    it(`is refused when it ${title}`, async () => {
      await assert.rejects(pullPlain(answer(write)), (error) => {
        assert.ok(error instanceof RsyncProtocolError || error instanceof RsyncFailedError, String(error));
        assert.match(error.message, message);
        return true;
      });
    });
  }

  it("gives a content whose sum does not fit, twice: the file is unreadable, and named", async () => {
    const wrong = (write: (to: ByteOutput) => void): Buffer => {
      const to = new ByteOutput();
      write(to);
      to.shortInt(ITEM.transfer);
      sumHead(to, 0, 0, 0, 0);
      to.int32(5);
      to.raw(Buffer.from("wrong"));
      to.int32(0);
      to.raw(Buffer.alloc(16, 1));
      return wrapped(to.take());
    };
    const writer = new IndexWriter(31);
    const tries = [wrong((to) => writer.write(to, 0)), wrong((to) => writer.write(to, 0))];
    // It says nothing more after that, but by then the file is known to be unreadable.
    assert.deepEqual((await pullPlain(serverParts(wrapped(one), ...tries))).unreadable, ["f"]);
  });

  it("sends messages without end, or of any length: they are bounded", async () => {
    const flood = Array.from({ length: 3000 }, () => wrapped(Buffer.alloc(4000, 0x61), 7 + 3));
    const before = process.memoryUsage().arrayBuffers;
    let problems = 0;
    const outcome = await pullPlain(serverParts(...flood, wrapped(plainList((list) => list.file("f", 0)))), {
      onProblem: () => problems++,
    });
    assert.deepEqual(outcome.paths, ["", "f"]);
    assert.ok(problems <= 10_000);
    assert.ok(process.memoryUsage().arrayBuffers - before < 64 * 1024 * 1024);
    await assert.rejects(
      pullPlain(serverParts(Buffer.from([0xff, 0xff, 0xff, 0x0a]))),
      /message of kind 3 has 16777215 bytes/,
    );
    await assert.rejects(pullPlain(serverParts(wrapped(Buffer.alloc(4), 7 + 99))), /unknown kind 99/);
  });

  it("says nothing: it is left after a while", async () => {
    const mute = connect();
    await assert.rejects(takeAllPlain(mute.client, { greetingMs: 100 }), /let no rsync speak/);
    const falling = connect();
    falling.server.output.write(Buffer.concat(serverParts()));
    await assert.rejects(takeAllPlain(falling.client, { silenceMs: 100 }), /silent/);
  });

  it("gives up with an error of its own, which is passed on in words", async () => {
    const code = Buffer.alloc(4);
    code.writeInt32LE(11);
    await assert.rejects(pullPlain(serverParts(wrapped(code, 7 + 86))), /gave up: error in file I\/O/);
  });
});

describe("a client that lies", () => {
  async function push(parts: readonly Buffer[]): Promise<{ readonly exitCode: number; readonly saved: boolean }> {
    let saved = false;
    const exitCode = await acceptPush(clientSaying(...parts), PUSH, {
      onProblem: () => undefined,
      previous: () => Promise.resolve(undefined),
      previousTree: () => Promise.resolve(undefined),
      mostFiles: 1000,
      save: async (source) => {
        await drain(source);
        await source.finish?.();
        saved = true;
      },
    });
    return { exitCode, saved };
  }

  const lists: [title: string, write: (list: ListWriter) => void][] = [
    ["names a file above the top", (list) => list.file("../x", 1)],
    ["names an absolute path without -R", (list) => list.file("/etc/passwd", 1)],
    [
      "lists a link and a file below it",
      (list) => {
        list.symlink("a", "/etc");
        list.file("a/passwd", 1);
      },
    ],
    [
      "lists too many files",
      (list) => {
        for (let i = 0; i < 1001; i++) list.file(`f${i}`, 1);
      },
    ],
  ];
  for (const [title, write] of lists) {
    it(`makes no snapshot when it ${title}`, async () => {
      const { exitCode, saved } = await push(pushOf(write));
      assert.equal(saved, false);
      assert.notEqual(exitCode, 0);
    });
  }

  it("announces sums of blocks that would fill the memory, and gets an answer without them", async () => {
    const { command } = await recordSession(false);
    const shelf = { list: () => Promise.resolve([{ name: "s", timeMs: 0, open: () => Promise.resolve(sample()) }]) };
    const to = new ByteOutput();
    to.int32(31);
    to.vstring(Buffer.from("md5"));
    const requests = new ByteOutput();
    requests.int32(0);
    new IndexWriter(31).write(requests, 2);
    requests.shortInt(ITEM.transfer);
    for (const number of [0x7fffffff, 131_072, 16, 0]) requests.int32(number);
    const before = process.memoryUsage().arrayBuffers;
    const exitCode = await serveFetch(clientSaying(to.take(), wrapped(requests.take())), command, shelf);
    assert.equal(exitCode, 12);
    assert.ok(process.memoryUsage().arrayBuffers - before < 32 * 1024 * 1024);
  });
});
