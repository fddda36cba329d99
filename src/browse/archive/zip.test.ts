import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { skipUnless } from "../../../test/support/requirements.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import { madeUpFile, madeUpFolder, madeUpLink, madeUpSnapshot, madeUpSpecial } from "../testing/memory-snapshot.ts";
import type { MadeUpEntry } from "../testing/memory-snapshot.ts";
import { zipArchive } from "./zip.ts";

async function zipped(folder: MadeUpEntry, skipped: string[] = []): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const onSkipped = (entryPath: string): unknown => skipped.push(entryPath);
  for await (const piece of zipArchive(madeUpSnapshot(folder).view, { onSkipped })) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Unpacks with unzip, which checks every CRC and must have nothing to say. */
async function unpacked(t: TestContext, folder: MadeUpEntry): Promise<{ target: string; listing: string }> {
  const target = mkdtempSync(path.join(tmpdir(), "holdfast-zip-"));
  t.after(() => rmSync(target, { recursive: true }));
  writeFileSync(path.join(target, "archive.zip"), await zipped(folder));
  const unzip = spawnSync("unzip", ["-q", "archive.zip", "-d", "out"], {
    cwd: target,
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  assert.equal(unzip.stderr.toString(), "");
  assert.equal(unzip.status, 0);
  const listing = spawnSync("unzip", ["-Z1", "archive.zip"], {
    cwd: target,
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  return { target: path.join(target, "out"), listing: listing.stdout.toString() };
}

const skip = skipUnless({ commands: ["unzip"] });

test("unzip unpacks content, folders, links, permissions and times", { skip }, async (t) => {
  const { target } = await unpacked(
    t,
    madeUpFolder({
      home: madeUpFolder({
        größe: madeUpFile(["some ", "notes ".repeat(1000)], { mode: 0o640, mtimeSeconds: 1_600_000_000 }),
      }),
      empty: madeUpFile(""),
      folder: madeUpFolder({}),
      link: madeUpLink("home"),
      sparse: madeUpFile("end", { holes: [{ offset: 0, lengthBytes: 200_000 }] }),
    }),
  );
  assert.equal(readFileSync(path.join(target, "home/größe"), "utf8"), `some ${"notes ".repeat(1000)}`);
  assert.equal(statSync(path.join(target, "home/größe")).mode & 0o777, 0o640);
  assert.equal(statSync(path.join(target, "home/größe")).mtimeMs, 1_600_000_000_000);
  assert.equal(statSync(path.join(target, "empty")).size, 0);
  assert.ok(statSync(path.join(target, "folder")).isDirectory());
  assert.equal(readlinkSync(path.join(target, "link")), "home");
  assert.ok(
    readFileSync(path.join(target, "sparse")).equals(Buffer.concat([Buffer.alloc(200_000), Buffer.from("end")])),
  );
});

test("names that zip cannot hold are escaped, and times beyond its range are moved into it", { skip }, async (t) => {
  const { listing } = await unpacked(
    t,
    madeUpFolder(
      {
        "back\\slash": madeUpFile("1", { mtimeSeconds: -86_400 }),
        "caf\xe9": madeUpFile("2", { mtimeSeconds: 99_999_999_999_999 }),
        "new\nline": madeUpFile("3"),
        "c:drive": madeUpFile("4"),
      },
      { rawNames: true },
    ),
  );
  assert.deepEqual(listing.split("\n").slice(0, -1), ["back⧵⧵slash", "./c:drive", "caf⧵xe9", "new⧵nline"]);
});

test("what zip has no place for is left out, and told", async () => {
  const skipped: string[] = [];
  await zipped(madeUpFolder({ p: madeUpSpecial("fifo"), s: madeUpSpecial("socket"), f: madeUpFile("1") }), skipped);
  assert.deepEqual(skipped, ["p", "s"]);
});

test("an archive ends in an error when content is missing", async () => {
  const { view, store } = madeUpSnapshot(madeUpFolder({ a: madeUpFile("gone"), b: madeUpFile("there") }));
  const entry = await view.lookup(rawPathFromText("a"));
  assert.ok(entry?.type === "file");
  store.lose(entry.content[0].id);
  await assert.rejects(
    async () => {
      for await (const piece of zipArchive(view)) void piece;
    },
    { name: "ObjectMissingError" },
  );
});

test("reading may stop before the end", async () => {
  const { view } = madeUpSnapshot(madeUpFolder({ a: madeUpFile("x".repeat(3_000_000)), b: madeUpFile("y") }));
  for await (const piece of zipArchive(view)) {
    assert.ok(piece.length > 0);
    break;
  }
});
