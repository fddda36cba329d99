import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Basis } from "../../../src/source/rsync/protocol/basis.ts";
import { openRsyncSource } from "../../../src/source/rsync/rsync-source.ts";
import type { RsyncSource, RsyncSourceOptions } from "../../../src/source/rsync/rsync-source.ts";
import { FileUnreadableError } from "../../../src/source/source.ts";
import { usedMemoryBytes } from "../../support/heap.ts";
import { scrambledBytes } from "../../support/awkward-tree.ts";
import { skipUnless } from "../../support/requirements.ts";
import { run } from "../../support/run-command.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const skip = skipUnless({ commands: ["rsync"] });

/** Names that sort differently by different rules. */
const PARTS = ["a", "a.", "a-", "a.b", "a b", "ab", "A", "a!", "a0", "b", "é", "~", "_"];

function makeTrickyTree(folder: string): string[] {
  const files: string[] = [];
  const add = (file: string): void => {
    writeFileSync(path.join(folder, file), file);
    files.push(file);
  };
  const fill = (below: string, depth: number): void => {
    for (const part of PARTS) {
      if (depth < 2 && part.length < 3) {
        mkdirSync(path.join(folder, below, part), { recursive: true });
        fill(path.join(below, part), depth + 1);
        add(path.join(below, `${part}.file`));
      } else {
        add(path.join(below, part));
      }
    }
  };
  fill("", 0);
  return files;
}

async function contentsOf(source: RsyncSource): Promise<Map<string, string>> {
  const contents = new Map<string, string>();
  let reading = Promise.resolve();
  let last = "";
  for await (const batch of source.entries()) {
    for (const entry of batch) {
      assert.ok(last === "" || inOrder(last, entry.path), `${last} before ${entry.path}`);
      last = entry.path;
      if (entry.stat.type !== "file") continue;
      const content = source.content(entry);
      if (content.kind !== "stream") throw new Error("a pulled file is a stream");
      reading = reading.then(async () => {
        let text = "";
        for await (const piece of content.pieces()) text += Buffer.from(piece).toString("latin1");
        contents.set(entry.path, text);
      });
    }
  }
  await reading;
  await source.close();
  return contents;
}

/** Depth first, names ascending by bytes. */
function inOrder(before: string, after: string): boolean {
  const [a, b] = [before.split("/"), after.split("/")];
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return a.length < b.length;
}

const forms: [title: string, options: Partial<RsyncSourceOptions>, env: Record<string, string>][] = [
  ["protocol 31", {}, {}],
  ["protocol 31 with MD5", {}, { RSYNC_CHECKSUM_LIST: "md5" }],
  ["protocol 31 with xxh3", {}, { RSYNC_CHECKSUM_LIST: "xxh3" }],
  ["protocol 31 with xxh64", {}, { RSYNC_CHECKSUM_LIST: "xxh64" }],
  ["protocol 31 with SHA-1", {}, { RSYNC_CHECKSUM_LIST: "sha1" }],
  ["protocol 31 with zstd", { compress: true }, { RSYNC_COMPRESS_LIST: "zstd" }],
  ["protocol 31 with zlibx", { compress: true }, { RSYNC_COMPRESS_LIST: "zlibx" }],
  ["protocol 31 with zlib", { compress: true }, { RSYNC_COMPRESS_LIST: "zlib" }],
  ["protocol 30", { newestProtocol: 30 }, {}],
  ["protocol 30 with zlib", { newestProtocol: 30, compress: true }, { RSYNC_COMPRESS_LIST: "zlib" }],
  ["protocol 31 in its plainest form", { profile: "plain" }, {}],
  ["protocol 30 in its plainest form", { profile: "plain", newestProtocol: 30 }, {}],
  ["protocol 29", { profile: "plain", newestProtocol: 29 }, {}],
];

function open(folder: string, options: Partial<RsyncSourceOptions>, env: Record<string, string>): Promise<RsyncSource> {
  const before = { ...process.env };
  Object.assign(process.env, env);
  try {
    return openRsyncSource({
      remote: undefined,
      paths: [folder],
      onProblem: (problem) => assert.fail(String(problem.error)),
      ...options,
    });
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

for (const [title, options, env] of forms) {
  test(`a real rsync's files come under their own names: ${title}`, { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const files = makeTrickyTree(folder);
    const contents = await contentsOf(await open(folder, options, env));
    const expected = new Map(
      files.map((file) => [
        Buffer.from(path.join(folder, file)).toString("latin1").slice(1),
        Buffer.from(file).toString("latin1"),
      ]),
    );
    assert.equal(contents.size, expected.size);
    for (const [file, text] of expected) assert.equal(contents.get(file), text, file);
  });

  test(`a real rsync sends what differs from a basis: ${title}`, { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const old = path.join(temporaryFolder(t), "old");
    const content = scrambledBytes("content", 2_000_000);
    writeFileSync(old, content);
    const changed = Buffer.concat([
      content.subarray(0, 700_000),
      Buffer.from("inserted"),
      content.subarray(700_000, 1_500_000),
    ]);
    writeFileSync(path.join(folder, "file"), changed);
    const source = await open(folder, { ...options, previous: () => Promise.resolve(fileBasis(old)) }, env);
    const contents = await contentsOf(source);
    assert.equal([...contents.values()][0], changed.toString("latin1"));
    assert.ok(source.traffic().literalBytes < 10_000, `${source.traffic().literalBytes} literal bytes`);
  });
}

function fileBasis(file: string): Basis {
  const sizeBytes = statSync(file).size;
  return {
    sizeBytes,
    read: (offset, length) => {
      const fd = openSync(file, "r");
      const bytes = Buffer.alloc(length);
      const read = readSync(fd, bytes, 0, length, offset);
      closeSync(fd);
      return Promise.resolve(bytes.subarray(0, read));
    },
  };
}

test(
  "files that change between being listed and being sent come as they are then, or are named",
  { skip },
  async (t) => {
    const folder = temporaryFolder(t);
    const at = (name: string): string => path.join(folder, name);
    for (const name of ["grows", "shrinks", "goes", "becomes-folder", "becomes-link", "stays"]) {
      writeFileSync(at(name), scrambledBytes(name, 50_000));
    }
    const source = await openRsyncSource({ remote: undefined, paths: [folder], onProblem: () => undefined });
    appendFileSync(at("grows"), "more");
    truncateSync(at("shrinks"), 10);
    for (const name of ["goes", "becomes-folder", "becomes-link"]) rmSync(at(name));
    mkdirSync(at("becomes-folder"));
    symlinkSync("/etc/passwd", at("becomes-link"));

    const sizes = new Map<string, number>();
    const unreadable = new Map<string, string>();
    for await (const batch of source.entries()) {
      for (const { entry, content } of batch.flatMap((each) =>
        each.stat.type === "file" ? [{ entry: each, content: source.content(each) }] : [],
      )) {
        if (content.kind !== "stream") continue;
        try {
          let sizeBytes = 0;
          for await (const piece of content.pieces()) sizeBytes += piece.length;
          sizes.set(entry.name, sizeBytes);
        } catch (error) {
          assert.ok(error instanceof FileUnreadableError);
          unreadable.set(entry.name, error.message);
        }
      }
    }
    await source.close();
    assert.deepEqual(
      [...sizes],
      [
        ["grows", 50_004],
        ["shrinks", 10],
        ["stays", 50_000],
      ],
    );
    assert.deepEqual([...unreadable.keys()], ["becomes-folder", "becomes-link", "goes"]);
    assert.match(unreadable.get("goes") ?? "", /vanished|went away/);
  },
);

test("an image of 200 MiB with 1 % of its blocks changed costs no more bytes than rsync's own", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const [old, there, copy] = ["old", "there", "copy"].map((name) => path.join(folder, name));
  for (const each of [there, copy]) mkdirSync(each);
  const image = scrambledBytes("image", 200 * 1024 * 1024);
  writeFileSync(old, image);
  writeFileSync(path.join(copy, "image"), image);
  const blocks = image.length / 4096;
  for (let i = 0; i < blocks / 100; i++) image.set(scrambledBytes(`change ${i}`, 4096), ((i * 7919) % blocks) * 4096);
  writeFileSync(path.join(there, "image"), image);

  const shell = path.join(folder, "rsh");
  writeFileSync(shell, '#!/bin/sh\nshift\nexec sh -c "$*"\n', { mode: 0o755 });
  const stats = (await run("rsync", ["-a", "-I", "--stats", "-e", shell, `here:${there}/`, `${copy}/`])).stdout;
  const theirs = (what: string): number =>
    Number(new RegExp(`Total bytes ${what}: ([\\d,]+)`).exec(stats)?.[1].replaceAll(",", ""));

  const source = await open(there, { previous: () => Promise.resolve(fileBasis(old)) }, {});
  let sizeBytes = 0;
  for await (const batch of source.entries()) {
    for (const entry of batch) {
      const content = entry.stat.type === "file" ? source.content(entry) : undefined;
      if (content?.kind !== "stream") continue;
      let at = 0;
      for await (const piece of content.pieces()) {
        assert.ok(Buffer.compare(piece, image.subarray(at, at + piece.length)) === 0, `content differs near ${at}`);
        at += piece.length;
      }
      sizeBytes = at;
    }
  }
  await source.close();
  assert.equal(sizeBytes, image.length);
  const { receivedBytes, sentBytes } = source.traffic();
  assert.ok(receivedBytes <= theirs("received") * 1.1, `${receivedBytes} came, ${theirs("received")} came to rsync`);
  assert.ok(sentBytes <= theirs("sent") * 1.1, `${sentBytes} were sent, ${theirs("sent")} by rsync`);
});

test("a list of 30,000 files takes little memory", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const script = "for my $d (0..29) { mkdir qq($d); for (0..999) { open my $f, q(>), qq($d/some-name-$_.txt) } }";
  const made = await run("perl", ["-e", script], { cwd: folder });
  assert.equal(made.status, 0, made.stderr);
  const before = usedMemoryBytes();
  const source = await open(folder, { profile: "plain" }, {});
  t.after(() => source.close());
  let entries = 0;
  for await (const batch of source.entries()) entries += batch.length;
  const grown = usedMemoryBytes() - before;
  assert.equal(entries, 30_000 + 30 + 1 + folder.split("/").length - 1);
  assert.ok(grown < 30_000 * 200, `${grown} bytes for 30,000 files`);
});
