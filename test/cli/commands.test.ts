import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { PASSWORD, workplace, type Workplace } from "./workplace.ts";

/** Three snapshots of one host and folder: as it was, with changes, and with a link and tags more. Gives their ids. */
async function threeSnapshots(at: Workplace): Promise<string[]> {
  await at.makeRepository();
  const save = async (time: string, ...options: string[]): Promise<string> => {
    const messages = await at.json(["backup", at.source, "--host", "web1", "--time", time, ...options]);
    return messages.at(-1).snapshot_id as string;
  };
  writeFileSync(path.join(at.source, "random"), randomBytes(3_000_000));
  const first = await save("2026-01-10 03:00:00");
  writeFileSync(path.join(at.source, "a.txt"), "first, changed\n");
  rmSync(path.join(at.source, "random"));
  renameSync(path.join(at.source, "sub/b.txt"), path.join(at.source, "c.txt"));
  const second = await save("2026-01-11 03:00:00");
  symlinkSync("c.txt", path.join(at.source, "link"));
  return [first, second, await save("2026-02-12 03:00:00", "--tag", "good,monthly")];
}

test("a repository of three snapshots", async (t) => {
  const at = workplace(t);
  const [first, second, third] = await threeSnapshots(at);
  const inSnapshot = (name: string) => path.join(at.source, name);

  await t.test("snapshots lists them as a table, oldest first, and as restic's JSON", async () => {
    const lines = (await at.ok(["snapshots"])).split("\n");
    assert.match(lines[0], /^ID +Time +Host +Tags +Paths +Size$/);
    assert.match(
      lines[2],
      new RegExp(`^${first.slice(0, 8)}  2026-01-10 03:00:00  web1 .* ${at.source} +5\\.722 MiB$`),
    );
    assert.match(lines[4], /good/);
    assert.equal(lines.at(-2), "3 snapshots");
    const [listed] = await at.json(["snapshots"]);
    assert.deepEqual(
      listed.map(({ id, hostname, paths }: Record<string, unknown>) => [id, hostname, paths]),
      [first, second, third].map((id) => [id, "web1", [at.source]]),
    );
    assert.equal(listed[0].time, "2026-01-10T03:00:00.000Z");
    assert.equal(listed[1].parent, first);
    assert.equal(listed[1].summary.files_new, 1);
    assert.deepEqual(listed[2].tags, ["good", "monthly"]);
  });

  await t.test("snapshots are chosen by host, tags, path, id and number", async () => {
    const ids = async (...options: string[]) =>
      (await at.json(["snapshots", ...options]))[0].map(({ id }: { id: string }) => id);
    assert.deepEqual(await ids("--host", "web2"), []);
    assert.deepEqual(await ids("--tag", "good,monthly", "--host", "web1"), [third]);
    assert.deepEqual(await ids("--tag", "good,other"), []);
    assert.deepEqual(await ids("--tag", ""), [first, second]);
    assert.deepEqual(await ids("--path", at.source), [first, second, third]);
    assert.deepEqual(await ids("--path", "/elsewhere"), []);
    assert.deepEqual(await ids("latest", first.slice(0, 10)), [first, third]);
    assert.deepEqual(await ids("--latest", "2"), [second, third]);
  });

  await t.test("ls lists everything, one folder, and from a folder on", async () => {
    const names = async (...args: string[]) => (await at.ok(["ls", "-q", ...args])).trimEnd().split("\n");
    const all = await names("latest");
    assert.ok(all.includes(inSnapshot("sub/large")) && all.includes(inSnapshot("link")));
    assert.ok(!(await names(first)).includes(inSnapshot("c.txt")));
    assert.deepEqual(await names(first, inSnapshot("sub")), ["sub", "sub/b.txt", "sub/large"].map(inSnapshot));
    assert.deepEqual(await names(`${first}:${inSnapshot("sub")}`), ["sub/b.txt", "sub/large"].map(inSnapshot));
    const [long] = await names("-l", "latest", inSnapshot("link"));
    assert.match(long, /^lrwxrwxrwx +\d+ +\d+ +0 20\d\d-.* -> c\.txt$/);
  });

  await t.test("ls --json begins with the snapshot, and has a line for each entry", async () => {
    const [snapshot, ...nodes] = await at.json(["ls", "latest"]);
    assert.equal(snapshot.message_type, "snapshot");
    assert.equal(snapshot.id, third);
    const file = nodes.find(({ name }) => name === "a.txt");
    assert.equal(file.struct_type, "node");
    assert.equal(file.type, "file");
    assert.equal(file.size, 15);
    assert.equal(file.permissions, "-rw-r--r--");
    assert.match(file.mtime, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  });

  await t.test("find looks in all snapshots, the newest first, and in those that are named", async () => {
    const [found] = await at.json(["find", "?.txt", "--ignore-case"]);
    assert.deepEqual(
      found.map(({ snapshot, hits }: { snapshot: string; hits: number }) => [snapshot, hits]),
      [
        [third, 2],
        [second, 2],
        [first, 2],
      ],
    );
    const text = await at.ok(["find", "-s", first, `${at.source}/**/b.txt`]);
    assert.match(
      text,
      new RegExp(`^Found matching entries in snapshot ${first.slice(0, 8)} from 2026-01-10 03:00:00\n`),
    );
    assert.ok(text.includes(`\n${inSnapshot("sub/b.txt")}\n`));
    assert.equal(await at.ok(["find", "nothing-like-this"]), "");
  });

  await t.test("diff tells what was added, removed and modified", async () => {
    const lines = (await at.ok(["diff", first, third])).split("\n");
    assert.deepEqual(
      lines.filter((line) => /^[-+MTU] +\//.test(line)),
      [
        `M    ${inSnapshot("a.txt")}`,
        `+    ${inSnapshot("c.txt")}`,
        `+    ${inSnapshot("link")}`,
        `-    ${inSnapshot("random")}`,
        `-    ${inSnapshot("sub/b.txt")}`,
      ],
    );
    const statistics = (await at.json(["diff", first, third])).at(-1);
    assert.equal(statistics.message_type, "statistics");
    assert.equal(statistics.changed_files, 1);
    assert.deepEqual([statistics.added.files, statistics.added.others, statistics.removed.files], [1, 1, 2]);
  });

  await t.test("stats counts what restoring takes, and what lies in the repository", async () => {
    const [restore] = await at.json(["stats"]);
    assert.equal(restore.snapshots_count, 3);
    assert.equal(restore.total_file_count, 10);
    const [contents] = await at.json(["stats", "--mode", "files-by-contents"]);
    assert.deepEqual([contents.total_file_count, contents.total_size], [5, 6 + 15 + 7 + 6_000_000]);
    const [raw] = await at.json(["stats", "--mode", "raw-data"]);
    assert.ok(raw.total_size > 3_000_000 && raw.total_size < 4_000_000);
    // The random file, the compressible one, four small texts, and folders.
    assert.ok(raw.total_uncompressed_size > 6_000_000 && raw.total_uncompressed_size < 6_010_000);
    assert.ok(raw.compression_ratio > 1.9 && raw.compression_ratio < 2.1);
    assert.ok(raw.total_blob_count > 8);
    const [blobs] = await at.json(["stats", "--mode", "blobs-per-file"]);
    // The text that was moved counts at either place.
    assert.deepEqual([blobs.total_file_count, blobs.total_size], [5, 6 + 15 + 7 + 7 + 6_000_000]);
  });

  await t.test("dump writes a file, and a folder as a tar archive", async () => {
    assert.equal(await at.ok(["dump", first, inSnapshot("a.txt")]), "first\n");
    assert.equal(await at.ok(["dump", `${first}:${at.source}`, "a.txt"]), "first\n");
    const archive = path.join(at.folder, "archive.tar");
    await at.ok(["dump", "latest", at.source, "--target", archive]);
    const names = (await runOk("tar", ["-tf", archive])).split("\n");
    assert.ok(names.includes(inSnapshot("sub/large").slice(1)) && names.includes(`${inSnapshot("empty").slice(1)}/`));
  });

  await t.test("dump --archive zip makes a zip", { skip: skipUnless({ commands: ["unzip"] }) }, async () => {
    const archive = path.join(at.folder, "archive.zip");
    await at.ok(["dump", "latest", "/", "--archive", "zip", "-t", archive]);
    assert.match(await runOk("unzip", ["-p", archive, inSnapshot("a.txt").slice(1)]), /^first, changed\n$/);
  });

  await t.test("restore brings everything back under its full path, or a folder directly", async () => {
    const target = path.join(at.folder, "restored");
    const summary = (await at.json(["restore", "latest", "--target", target])).at(-1);
    assert.equal(summary.message_type, "summary");
    await runOk("diff", ["-r", "--no-dereference", at.source, path.join(target, at.source)]);
    const part = path.join(at.folder, "part");
    await at.ok(["restore", `${first}:${at.source}`, "-t", part, "--include", "*.txt"]);
    assert.deepEqual(readdirSync(part, { encoding: "utf8", recursive: true }).toSorted(), [
      "a.txt",
      "sub",
      "sub/b.txt",
    ]);
  });

  await t.test(
    "restore --dry-run -v shows what would be done and does nothing; --delete makes a folder as it was",
    async () => {
      const target = path.join(at.folder, "as-it-was");
      mkdirSync(target);
      writeFileSync(path.join(target, "extra"), "");
      const args = ["restore", `${first}:${at.source}`, "-t", target, "--delete"];
      const shown = await at.ok([...args, "--dry-run", "-v"]);
      assert.match(shown, /deleted +\/extra\n/);
      assert.match(shown, /restored +\/a\.txt\n/);
      assert.deepEqual(readdirSync(target), ["extra"]);
      assert.match(await at.ok(args), /is not empty: .* all others deleted/);
      assert.deepEqual(readdirSync(target).toSorted(), ["a.txt", "empty", "random", "sub"]);
    },
  );

  await t.test("check finds nothing wrong, reads everything, and works without a password", async () => {
    assert.match(await at.ok(["check"]), /no errors were found/);
    const [summary] = (await at.json(["check", "--read-data"])).slice(-1);
    assert.equal(summary.num_errors, 0);
    assert.equal(summary.packs_read, summary.packs);
    assert.match(await at.ok(["check", "--without-key"], { env: { HOLDFAST_PASSWORD: undefined } }), /no errors/);
  });

  await t.test("backup --dry-run stores nothing and makes no snapshot", async () => {
    const files = () => readdirSync(at.repository, { encoding: "utf8", recursive: true }).toSorted();
    const before = files();
    writeFileSync(path.join(at.source, "new"), "new content");
    const [summary] = (await at.json(["backup", "-n", at.source, "--host", "web1"])).slice(-1);
    rmSync(path.join(at.source, "new"));
    assert.deepEqual([summary.dry_run, summary.files_new, summary.snapshot_id], [true, 1, undefined]);
    assert.deepEqual(files(), before);
  });

  await t.test("forget --dry-run shows each snapshot with its reasons", async () => {
    const text = await at.ok(["forget", "--keep-monthly", "2", "--dry-run"]);
    assert.match(text, /keep 2 monthly snapshots/);
    assert.match(text, new RegExp(`${third.slice(0, 8)}  .*  monthly snapshot  `));
    assert.match(text, new RegExp(`would remove 1 snapshot: ${first.slice(0, 8)}`));
    const [[group]] = await at.json(["forget", "--keep-monthly", "2", "--dry-run"]);
    assert.deepEqual([group.host, group.paths, group.keep.length, group.remove.length], ["web1", [at.source], 2, 1]);
    assert.deepEqual(group.reasons[0].matches, ["monthly snapshot"]);
    assert.equal((await at.json(["snapshots"]))[0].length, 3);
  });

  await t.test("copy takes snapshots to another repository, once", async () => {
    const other = path.join(at.folder, "other");
    const env = { HOLDFAST_PASSWORD: "other password", HOLDFAST_FROM_PASSWORD: PASSWORD };
    await at.ok(["init", "-r", other], { env });
    const copy = ["-r", other, "copy", "--from-repo", at.repository];
    assert.match(await at.ok([...copy, second], { env }), /saved/);
    const all = await at.ok([...copy, "--json"], { env });
    assert.equal(JSON.parse(all.trimEnd().split("\n").at(-1)!).copied_snapshots, 2);
    assert.match(await at.ok([...copy], { env }), /is there already/);
    const countsOf = ({ complete, summary }: Record<string, Record<string, number>>) => [
      complete,
      summary.total_files_processed,
      summary.total_dirs_processed,
      summary.total_others_processed,
      summary.total_bytes_processed,
    ];
    assert.deepEqual(
      JSON.parse(await at.ok(["-r", other, "snapshots", "--json"], { env })).map(countsOf),
      JSON.parse(await at.ok(["snapshots", "--json"])).map(countsOf),
    );
    const target = path.join(at.folder, "from-copy");
    await at.ok(["-r", other, "restore", "latest", "-t", target], { env });
    await runOk("diff", ["-r", "--no-dereference", at.source, path.join(target, at.source)]);
  });

  await t.test("cat prints the config and a snapshot", async () => {
    const config = JSON.parse(await at.ok(["cat", "config"]));
    assert.equal(config.format, 1);
    assert.equal(JSON.parse(await at.ok(["cat", "snapshot", "latest"])).id, third);
  });

  await t.test("forget and prune free the space of what is gone, and what stays is whole", async () => {
    assert.match(await at.ok(["forget", "--keep-last", "1"]), /removed 2 snapshots/);
    const [summary] = (await at.json(["prune", "--max-unused", "0"])).slice(-1);
    assert.equal(summary.packs_waiting, 0);
    assert.ok(summary.bytes_freed > 1_900_000);
    assert.match(await at.ok(["check", "--read-data"]), /no errors were found/);
    const target = path.join(at.folder, "after-prune");
    await at.ok(["restore", "latest", "-t", target]);
    assert.equal(readFileSync(path.join(target, at.source, "a.txt"), "utf8"), "first, changed\n");
  });

  await t.test("forget removes a snapshot that is named, also the last", async () => {
    await at.ok(["forget", third]);
    assert.deepEqual((await at.json(["snapshots"]))[0], []);
  });
});

test("keys are added, listed, used, changed and removed", async (t) => {
  const at = workplace(t);
  await at.ok(["init"]);
  await at.ok(["key", "add"], { env: { HOLDFAST_NEW_PASSWORD: "second password" } });
  const [keys] = await at.json(["key", "list"]);
  assert.deepEqual(
    keys.map(({ current, opensWith }: Record<string, unknown>) => [current, opensWith]),
    [
      [true, "password"],
      [false, "password"],
    ],
  );
  // Of the other, only who knows its password can read whose it is.
  assert.equal(keys[0].label, `${keys[0].userName}@${os.hostname()}`);
  assert.deepEqual([keys[1].label, keys[1].userName], ["", undefined]);
  assert.ok(Math.abs(Date.now() - Date.parse(keys[0].created)) < 600_000);
  const second = { env: { HOLDFAST_PASSWORD: "second password" } };
  assert.match(
    (await at.run(["key", "remove", keys[1].id], second)).stderr,
    /refusing to remove the key that is in use/,
  );
  await at.ok(["key", "remove", keys[0].id.slice(0, 8)], second);
  assert.equal((await at.run(["snapshots"])).status, 12);
  await at.ok(["key", "passwd"], { env: { ...second.env, HOLDFAST_NEW_PASSWORD: "third password" } });
  assert.equal((await at.run(["snapshots"], second)).status, 12);
  await at.ok(["snapshots"], { env: { HOLDFAST_PASSWORD: "third password" } });
});

test("an age identity opens the repository", { skip: skipUnless({ commands: ["age-keygen"] }) }, async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const identity = path.join(at.folder, "identity");
  await runOk("age-keygen", ["-o", identity]);
  const recipient = (await runOk("age-keygen", ["-y", identity])).trim();
  await at.ok(["key", "add", "--recipient", recipient, "--label", "recovery"]);
  const listed = await at.ok(["key", "list", "--identity-file", identity], { env: { HOLDFAST_PASSWORD: undefined } });
  assert.match(listed, /\*[0-9a-f]{8} +recovery +age identity/);
});

test("backup leaves out what patterns, sizes and tags say, and takes lists of paths", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const names = async () =>
    (await at.ok(["ls", "-q", "latest"]))
      .trimEnd()
      .split("\n")
      .map((name) => path.relative(at.source, name));
  mkdirSync(path.join(at.source, "cache"));
  writeFileSync(path.join(at.source, "cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55");
  writeFileSync(path.join(at.source, "cache/big"), "");
  writeFileSync(path.join(at.folder, "patterns"), "# comment\n/**/b.txt\n");
  const excludes = ["--exclude-caches", "--exclude-larger-than", "1M", "--iexclude", "A.TXT"];
  await at.ok(["backup", at.source, ...excludes, "--exclude-file", path.join(at.folder, "patterns")]);
  assert.deepEqual(
    (await names()).filter((name) => !name.startsWith("..") && name !== ""),
    ["cache", "cache/CACHEDIR.TAG", "empty", "sub"],
  );

  const list = path.join(at.folder, "list");
  writeFileSync(list, `# comment\n\n${at.source}/*.txt\n${at.source}/sub\n`);
  await at.ok(["backup", "--files-from", list]);
  assert.deepEqual(
    (await names()).filter((name) => !name.startsWith("..") && name !== ""),
    ["a.txt", "sub", "sub/b.txt", "sub/large"],
  );
  await at.ok(["backup", "--files-from-raw", "-"], { input: `${at.source}/a.txt\0` });
  assert.deepEqual(
    (await names()).filter((name) => !name.startsWith("..") && name !== ""),
    ["a.txt"],
  );
  await at.ok(["backup", "--files-from-verbatim", "-"], { input: `${at.source}/sub/b.txt\n` });
  assert.ok((await names()).includes("sub/b.txt"));
});

test("backup takes names that are not UTF-8 from the command line as they are", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const program = `mkdir "$1/$(printf 'b\\377d')" && printf x > "$1/$(printf 'b\\377d')/file" && "$2" backup "$1/$(printf 'b\\377d')"`;
  const holdfast = path.resolve(import.meta.dirname, "../../bin/holdfast");
  await runOk("sh", ["-c", program, "sh", at.source, holdfast], { env: at.env });
  assert.match(await at.ok(["ls", "latest"]), /source\/b\\xffd\/file\n/);
  assert.equal(await at.ok(["find", "-q", "file"]), `${at.source}/b\\xffd/file\n`);
});

test("backup saves standard input, or what a command prints", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", "--stdin", "--stdin-filename", "db/dump.sql"], { input: "select 1;\n" });
  assert.equal(await at.ok(["dump", "latest", "/db/dump.sql"]), "select 1;\n");
  await at.ok(["backup", "--stdin-from-command", "--", "printf", "%s-%s", "a", "b"]);
  assert.equal(await at.ok(["dump", "latest", "/stdin"]), "a-b");
  const failed = await at.run(["backup", "--stdin-from-command", "--", "sh", "-c", "echo half; exit 3"]);
  assert.equal(failed.status, 1);
  assert.match(failed.stderr, /sh ended with exit code 3/);
  assert.equal((await at.json(["snapshots"]))[0].length, 2);
});

test("a damaged index is made anew, and of damaged packs is saved what is whole", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source]);
  for (const name of readdirSync(path.join(at.repository, "index"))) rmSync(path.join(at.repository, "index", name));
  assert.equal((await at.run(["check"])).status, 1);
  await at.ok(["repair", "index"]);
  assert.match(await at.ok(["check", "--read-data"]), /no errors/);
  assert.match(await at.ok(["repair", "packs"]), /no pack is damaged/);
  assert.match(await at.ok(["repair", "snapshots"]), /no snapshot had to be repaired/);
});

test("passwords come from a file or a command, and not from both", async (t) => {
  const at = workplace(t);
  const file = path.join(at.folder, "password");
  writeFileSync(file, `${PASSWORD}\n`);
  const env = { HOLDFAST_PASSWORD: undefined };
  await at.ok(["init", "--password-file", file], { env });
  await at.ok(["snapshots", "--password-command", `cat '${file}'`], { env });
  await at.ok(["snapshots"], { env: { ...env, HOLDFAST_PASSWORD_FILE: file } });
  await at.ok(["snapshots"], { env, input: `${PASSWORD}\n` });
  const both = await at.run(["snapshots", "-p", file, "--password-command", "true"], { env });
  assert.match(both.stderr, /both a password file and a password command/);
  const failing = await at.run(["snapshots", "--password-command", "echo sorry >&2; exit 7"], { env });
  assert.match(failing.stderr, /password command failed: it ended with 7: sorry/);
  assert.match((await at.run(["snapshots"], { env, input: "\n" })).stderr, /an empty password is not a password/);
  assert.match((await at.run(["snapshots"], { env })).stderr, /no password is given, and there is no terminal/);
});

test("what had to be read again, and is as it was, counts as unmodified", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  writeFileSync(path.join(at.source, "young"), "changed a moment ago");
  await at.ok(["backup", at.source]);
  const second = (await at.json(["backup", at.source])).at(-1) as unknown as Record<string, number>;
  assert.deepEqual([second["files_new"], second["files_changed"]], [0, 0]);
  writeFileSync(path.join(at.source, "young"), "changed a moment AGO");
  const third = (await at.json(["backup", at.source])).at(-1) as unknown as Record<string, number>;
  assert.deepEqual([third["files_new"], third["files_changed"]], [0, 1]);
});

test("a snapshot whose record is damaged holds up a prune, until it is forgotten by its id", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source]);
  const [{ snapshot_id: id }] = (await at.json(["backup", at.source, "--tag", "damaged"])).slice(-1);
  const record = path.join(at.repository, "snapshots", id);
  chmodSync(record, 0o600);
  writeFileSync(record, "junk");
  const pruned = await at.run(["prune"]);
  assert.equal(pruned.status, 1);
  assert.match(pruned.stderr, new RegExp(`"holdfast forget ${id.slice(0, 8)}" gives it up`));
  const forgotten = await at.run(["forget", id.slice(0, 8)]);
  assert.equal(forgotten.status, 0);
  assert.match(forgotten.stderr, /is damaged/);
  assert.match(forgotten.stdout, /removed 1 snapshot/);
  await at.ok(["prune"]);
  await at.ok(["check"]);
});

test("a copy that lacks something ends with 1, and its snapshot says that it is not whole; the others are", async (t) => {
  const at = workplace(t);
  const other = path.join(at.folder, "other");
  await at.makeRepository();
  await at.ok(["-r", other, "init"]);
  await at.ok(["backup", path.join(at.source, "sub")]);
  writeFileSync(path.join(at.source, "random"), randomBytes(3_000_000));
  const packs = (): string[] =>
    readdirSync(path.join(at.repository, "packs"), { recursive: true, encoding: "utf8" }).filter((name) =>
      statSync(path.join(at.repository, "packs", name)).isFile(),
    );
  const before = new Set(packs());
  await at.ok(["backup", path.join(at.source, "random")]);
  writeFileSync(path.join(at.source, "random"), "small");
  const damaged = packs().find((name) => !before.has(name))!;
  await at.ok(["backup", path.join(at.source, "random"), "--force", "--time", "2030-01-01"]);
  const file = path.join(at.repository, "packs", damaged);
  const bytes = readFileSync(file);
  bytes[100_000] ^= 1;
  chmodSync(file, 0o600);
  writeFileSync(file, bytes);
  const copied = await at.run(["-r", other, "copy", "--from-repo", at.repository], {
    env: { HOLDFAST_FROM_PASSWORD: PASSWORD },
  });
  assert.equal(copied.status, 1);
  assert.match(copied.stderr, /random/);
  const [snapshots] = await at.json(["-r", other, "snapshots"]);
  assert.deepEqual(
    snapshots.map((one: { complete: boolean }) => one.complete),
    [true, false, true],
  );
});
