import assert from "node:assert/strict";
import { chmodSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { rawPathFromBytes } from "../../src/platform/raw-path.ts";
import { checkoutFolder } from "../support/holdfast.ts";
import { runOk } from "../support/run-command.ts";
import { workplace } from "./workplace.ts";

test("what backup is told to save and to leave out", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const list = (name: string, content: string | Buffer) => {
    const file = path.join(at.folder, name);
    writeFileSync(file, content);
    return file;
  };
  const inSource = (name: string) => path.join(at.source, name);
  /** Paths of the last snapshot, in the source. */
  const saved = async () => {
    const lines = (await at.ok(["ls", "-q", "latest"])).split("\n");
    return lines.filter((line) => line.startsWith(`${at.source}/`)).map((line) => line.slice(at.source.length + 1));
  };
  const all = ["a.txt", "empty", "sub", "sub/b.txt", "sub/large"];

  await t.test("-e and --exclude count in the order in which they are given", async () => {
    await at.ok(["backup", at.source, "-e", "*.txt", "--exclude", "!b.txt"]);
    assert.deepEqual(await saved(), ["empty", "sub", "sub/b.txt", "sub/large"]);
    await at.ok(["backup", at.source, "--exclude", "!b.txt", "-e", "*.txt"]);
    assert.deepEqual(await saved(), ["empty", "sub", "sub/large"]);
  });

  await t.test("files with patterns may begin with a byte order mark and have lines that end with CR LF", async () => {
    await at.ok(["backup", at.source, "--exclude-file", list("dos", `\ufeff${inSource("sub/b.txt")}\r\n# no\r\n\r\n`)]);
    assert.deepEqual(await saved(), ["a.txt", "empty", "sub", "sub/large"]);
    await at.ok(["backup", "--files-from", list("dos-list", `\ufeff${inSource("a.txt")}\r\n`)]);
    assert.deepEqual(await saved(), ["a.txt"]);
  });

  await t.test("patterns that match nothing to gitignore are refused, with their place", async () => {
    const refusal = async (...options: string[]) => {
      const { status, stderr } = await at.run(["backup", at.source, ...options]);
      assert.equal(status, 1);
      return stderr;
    };
    assert.match(await refusal("--exclude", "a["), /--exclude: "a\[" is no pattern: a \[ has no \]/);
    assert.match(await refusal("--iexclude", "a\\"), /it ends with a backslash/);
    assert.match(await refusal("--exclude-file", list("bad", "a\n*.x\\\n")), /bad:2: "\*\.x\\" is no pattern/);
    assert.match(await refusal("--exclude-if-present", ":header"), /is not the name of a file/);
    const restored = await at.run(["restore", "latest", "--target", path.join(at.folder, "out"), "--include", "["]);
    assert.equal(restored.status, 1);
    assert.match(restored.stderr, /--include: "\[" is no pattern/);
    assert.match(await refusal("--stdin-from-command", "--stdin-filename", "n".repeat(256)), /255 bytes at most/);
    await at.ok(["backup", at.source, "--exclude", "[[:alpha:]]", "--exclude", "\\[", "--exclude", "[]]"]);
    assert.deepEqual(await saved(), all);
  });

  await t.test("names that are not UTF-8 are told apart, in arguments and in lists", async () => {
    const names = [0xfe, 0xff].map((byte) => Buffer.concat([Buffer.from(`${at.source}/`), Buffer.from([byte])]));
    for (const name of names) writeFileSync(name, "");
    const script = `"$0" -q backup "$(printf '${at.source}/\\376')" "$(printf '${at.source}/\\377')"`;
    await runOk("sh", ["-c", script, path.join(checkoutFolder, "bin/holdfast")], { env: at.env });
    assert.deepEqual(await saved(), ["\\xfe", "\\xff"]);
    const lines = names.map((name) => rawPathFromBytes(name).replace("/source/", "/sourc?/"));
    await at.ok(["backup", "--files-from", list("raw", Buffer.from(`${lines.join("\n")}\n`, "latin1"))]);
    assert.deepEqual(await saved(), ["\\xfe", "\\xff"]);
  });

  await t.test("a line that matches nothing is missed like a path, and the others are saved", async () => {
    writeFileSync(inSource("voilà"), "");
    const file = list("paths", ["nothing*", "voilà", "{a,b}", "a.tx[t]"].map((name) => `${inSource(name)}\n`).join(""));
    const { status, stderr } = await at.run(["backup", "--files-from", file]);
    assert.equal(status, 3);
    assert.match(stderr, /nothing\*: no such file/);
    assert.match(stderr, /\{a,b\}: no such file/);
    assert.deepEqual(await saved(), ["a.txt", "voilà"]);
  });
});

test("--ignore-ctime and --ignore-inode read nothing again for them alone, and save the new attributes", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const file = path.join(at.source, "a.txt");
  const old = new Date("2020-01-01T00:00:00Z");
  /** The same size and time, but other content: whether it is found out tells whether it was read. */
  const alter = (content: string, asNewInode: boolean) => {
    if (asNewInode) rmSync(file);
    writeFileSync(file, content);
    utimesSync(file, old, old);
  };
  const save = async (...options: string[]) => {
    // What was changed just before a backup is read again by the next one in any case.
    await setTimeout(2100);
    const summary = (await at.json(["backup", at.source, ...options])).at(-1);
    return [summary.files_changed, await at.ok(["dump", "latest", file])];
  };
  alter("first\n", false);
  await save();
  alter("other\n", true);
  chmodSync(file, 0o640);
  assert.deepEqual(await save("--ignore-ctime", "--ignore-inode"), [1, "first\n"]);
  assert.match(await at.ok(["ls", "-l", "latest", file]), /-rw-r----- /);
  alter("last!\n", true);
  assert.deepEqual(await save("--ignore-inode"), [1, "last!\n"]);
});
