/** Folders that have not changed are taken over as a whole: nothing of what has changed may be overlooked by that. */
import assert from "node:assert/strict";
import { appendFileSync, chmodSync, chownSync, globSync, linkSync, lstatSync, lutimesSync, mkdirSync } from "node:fs";
import { readFileSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { seededRandom } from "../../../src/storage/testing/random.ts";
import { newHoldfast } from "../../support/holdfast.ts";
import type { Holdfast } from "../../support/holdfast.ts";
import { skipUnless } from "../../support/requirements.ts";
import { runOk } from "../../support/run-command.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { assertSameForRsync } from "./same-for-rsync.ts";

const skip = skipUnless({ root: true, commands: ["rsync", "setfacl", "setfattr", "getfattr", "setpriv"] });

/** A remote shell that stays here. */
const HERE = "sh -c 'shift; exec sh -c \"$*\"' sh";
/** One that takes its time, so that what is known is gone through before the list comes. */
const SLOWLY_HERE = HERE.replace("shift", "shift; sleep 0.7");
const DOOR = path.join(import.meta.dirname, "door.ts");
const CHANGES = 24;
const CHANGES_AT_ONCE = 6;
const FOLDERS = 12;

interface Summary {
  readonly files_new: number;
  readonly files_changed: number;
  readonly files_unmodified: number;
  readonly dirs_unmodified: number;
  readonly data_blobs: number;
  readonly total_bytes_processed: number;
}

async function pull(holdfast: Holdfast, folder: string, ...options: readonly string[]): Promise<Summary> {
  const lines = await holdfast.ok(["backup", "--json", `here:${folder}`, "--rsh", HERE, ...options]);
  return JSON.parse(lines.trim().split("\n").at(-1) ?? "") as Summary;
}

function makeTree(folder: string): void {
  for (let number = 0; number < FOLDERS; number++) {
    // Some within others.
    const inner = path.join(folder, number % 3 === 0 ? "." : `d${number - (number % 3)}`, `d${number}`);
    mkdirSync(inner, { recursive: true });
    for (let file = 0; file < 6; file++) writeFileSync(path.join(inner, `f${file}`), `file ${file} of ${number}\n`);
    symlinkSync("f0", path.join(inner, "link"));
  }
}

/** Old enough that it is not read again because it might have been changed while it was listed. */
const age = (folder: string): Promise<string> =>
  runOk("find", [folder, "-exec", "touch", "-h", "-d", "2026-01-02 03:04:05.678", "{}", "+"]);

/** How a folder becomes a snapshot, and where it stands in that. */
interface Way {
  readonly save: (holdfast: Holdfast, folder: string) => Promise<unknown>;
  readonly placeOf: (folder: string) => string;
}

const ways: Record<string, Way> = {
  "pulled from a host": {
    save: (holdfast, folder) => pull(holdfast, folder, "--rsh", SLOWLY_HERE),
    placeOf: (folder) => folder,
  },
  "pushed by a stock rsync": { save: push, placeOf: () => "/pushed" },
};

function push(holdfast: Holdfast, folder: string): Promise<string> {
  const { HOLDFAST_PASSWORD: password = "", HOLDFAST_CACHE_DIR: caches = "" } = holdfast.env;
  const words = [process.execPath, DOOR, holdfast.repository, password, caches, "web1"];
  const shell = `sh -c 'shift; SSH_ORIGINAL_COMMAND="$*" exec "${words.join('" "')}"' sh`;
  return runOk("rsync", ["-aHAX", "--numeric-ids", "-e", shell, `${folder}/`, "here:pushed"]);
}

for (const [way, { save, placeOf }] of Object.entries(ways)) {
  test(`whatever changes below folders that were ${way} before shows in the next snapshot`, { skip }, async (t) => {
    const holdfast = await newHoldfast(t);
    const folder = path.join(temporaryFolder(t), "original");
    mkdirSync(folder);
    makeTree(folder);
    await age(folder);
    await save(holdfast, folder);
    const random = seededRandom(4711);
    for (let round = 0; round < CHANGES; round += CHANGES_AT_ONCE) {
      const done: string[] = [];
      for (let at = round; at < round + CHANGES_AT_ONCE; at++)
        done.push(await changeSomething(folder, random.below, at));
      await save(holdfast, folder);
      // What only older snapshots needed goes: the newest must have named all that it needs.
      await holdfast.ok(["forget", "--keep-last", "1", "--prune", "--max-unused", "0"]);
      const target = path.join(temporaryFolder(t), "restored");
      await holdfast.ok(["restore", `latest:${placeOf(folder)}`, "--target", target]);
      const explained = (error: unknown): never => assert.fail(`after ${done.join(", ")}: ${String(error)}`);
      await assertSameForRsync(folder, target).catch(explained);
    }
    await save(holdfast, folder);
    await holdfast.ok(["check", "--read-data"]);
  });
}

async function changeSomething(folder: string, below: (limit: number) => number, round: number): Promise<string> {
  const files = globSync(`${folder}/**/f*`)
    .filter((file) => lstatSync(file).isFile())
    .toSorted();
  const folders = globSync(`${folder}/**/d*`)
    .filter((one) => lstatSync(one).isDirectory())
    .toSorted();
  const file = files[below(files.length)];
  const inner = folders[below(folders.length)];
  const changes: Record<string, () => unknown> = {
    "a file grew": () => appendFileSync(file, "more\n"),
    "a file has another content of the same size": () => {
      const content = readFileSync(file);
      content[0] ^= 1;
      writeFileSync(file, content);
      utimesSync(file, 1_700_000_000 + round, 1_700_000_000 + round);
    },
    "a file has another modification time": () => utimesSync(file, 1.5e9 + round + 0.25, 1.5e9 + round + 0.25),
    "a file has another mode": () => chmodSync(file, 0o600 + (round % 8)),
    "a file has another owner": () => chownSync(file, 1000 + round, 2000),
    "a file has an ACL": () => runOk("setfacl", ["-m", `u:${3000 + round}:r`, file]),
    "a file has an attribute": () => runOk("setfattr", ["-n", "user.note", "-v", `value ${round}`, file]),
    "a file has a long attribute": () => runOk("setfattr", ["-n", "user.long", "-v", `${round}`.repeat(80), file]),
    "a folder has another mode": () => chmodSync(inner, 0o711 + (round % 2)),
    "a folder has a default ACL": () => runOk("setfacl", ["-d", "-m", `u:${4000 + round}:rx`, inner]),
    "a link leads elsewhere": () => {
      const link = path.join(inner, "link");
      unlinkSync(link);
      symlinkSync(`f${1 + (round % 5)}`, link);
      lutimesSync(link, 1_400_000_000, 1_400_000_000);
    },
    "a file has another name": () => renameSync(file, `${file}-${round}`),
    "a file is gone": () => unlinkSync(file),
    "a file has a second name in another folder": () => linkSync(file, path.join(inner, `f-linked-${round}`)),
    "a file is new": () => writeFileSync(path.join(inner, `f-new-${round}`), `new ${round}\n`),
    "a folder is new": () => mkdirSync(path.join(inner, `d-new-${round}`)),
    "a folder has moved": () => renameSync(inner, path.join(folder, `d-moved-${round}`)),
    "a folder is gone": () => rmSync(inner, { recursive: true }),
    "two files have changed places": () => {
      const other = path.join(path.dirname(file), "f-other");
      writeFileSync(other, readFileSync(file));
      renameSync(other, file);
    },
  };
  const names = Object.keys(changes);
  const name = names[round % names.length];
  await changes[name]();
  return name;
}

test("folders in which nothing is changed are counted, and hold what they held", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = path.join(temporaryFolder(t), "original");
  mkdirSync(folder);
  makeTree(folder);
  await age(folder);
  const first = await pull(holdfast, folder);
  const again = await pull(holdfast, folder);
  assert.equal(again.files_unmodified, first.files_new);
  assert.equal(again.total_bytes_processed, first.total_bytes_processed);
  assert.equal(again.files_new + again.files_changed, 0);
  // The whole of it in the words of someone who asks for each: the same.
  const said = await holdfast.ok(["backup", "-vv", "--rsh", HERE, `here:${folder}`]);
  assert.equal(said.split("\n").filter((line) => /^unchanged .*\/f\d/.test(line)).length, first.files_new);
});

test("other exclusions count though the host's files are the same", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = path.join(temporaryFolder(t), "original");
  mkdirSync(folder);
  makeTree(folder);
  await age(folder);
  const names = async (): Promise<string> => holdfast.ok(["ls", "latest"]);
  await pull(holdfast, folder);
  await pull(holdfast, folder, "--exclude", "[f]1");
  assert.doesNotMatch(await names(), /\/f1\n/);
  await pull(holdfast, folder, "--exclude", "[f]2");
  assert.match(await names(), /\/f1\n/);
  assert.doesNotMatch(await names(), /\/f2\n/);
  await pull(holdfast, folder, "--exclude-larger-than", "3");
  assert.doesNotMatch(await names(), /\/f2\n/);
  const all = await pull(holdfast, folder);
  assert.match(await names(), /\/f2\n/);
  assert.equal(all.files_new + all.files_changed + all.files_unmodified, FOLDERS * 6);
});

test("what was lost from the repository is fetched again, and not taken for unchanged", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = path.join(temporaryFolder(t), "original");
  mkdirSync(folder);
  makeTree(folder);
  await age(folder);
  await pull(holdfast, folder);
  writeFileSync(path.join(folder, "d3/f-late"), "late\n");
  await runOk("touch", ["-d", "2026-01-02", path.join(folder, "d3/f-late")]);
  await pull(holdfast, folder);
  // The newer snapshot's own packs go, and with them it; the log of the last run still tells of it.
  const newest = JSON.parse(await holdfast.ok(["snapshots", "--json"])).at(-1).id as string;
  await holdfast.ok(["forget", newest, "--prune", "--max-unused", "0"]);
  await pull(holdfast, folder);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${folder}`, "--target", target]);
  await assertSameForRsync(folder, target);
  await holdfast.ok(["check", "--read-data"]);
});

test("a file that could not be read is asked for again though its folder is as it was listed", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = path.join(temporaryFolder(t), "original");
  mkdirSync(folder);
  makeTree(folder);
  chmodSync(path.join(folder, "d3/f3"), 0);
  await age(folder);
  await runOk("chmod", ["755", path.dirname(folder)]);
  const nobody = HERE.replace("exec sh", "exec setpriv --reuid 65534 --regid 65534 --clear-groups sh");
  for (const _ of [1, 2]) {
    const { status } = await holdfast.run(["backup", "--rsh", nobody, `here:${folder}`]);
    assert.equal(status, 3);
  }
  assert.doesNotMatch(await holdfast.ok(["ls", "latest"]), /d3\/f3\n/);
  const summary = await pull(holdfast, folder);
  assert.equal(summary.files_new, 1);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${folder}`, "--target", target]);
  await assertSameForRsync(folder, target);
});

test("a folder so large that its tree has parts keeps all of them", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = path.join(temporaryFolder(t), "original");
  mkdirSync(path.join(folder, "large"), { recursive: true });
  for (let number = 0; number < 9000; number++)
    writeFileSync(path.join(folder, "large", `file-${number}`), `${number}\n`);
  await age(folder);
  await pull(holdfast, folder);
  writeFileSync(path.join(folder, "beside"), "beside\n");
  const { files_unmodified } = await pull(holdfast, folder);
  assert.equal(files_unmodified, 9000);
  await holdfast.ok(["forget", "--keep-last", "1", "--prune", "--max-unused", "0"]);
  await holdfast.ok(["check", "--read-data"]);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${folder}`, "--target", target]);
  await assertSameForRsync(folder, target);
});
