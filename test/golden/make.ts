/**
 * Makes the golden repository of the present format in `test/golden/v<format>/`, once for each version of the format:
 * from then on it is never made again, and every later Holdfast must read it.
 *
 *     node test/golden/make.ts
 */
import { existsSync, linkSync, mkdirSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { FORMAT_VERSION } from "../../src/format/config.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { holdfastOk } from "../support/holdfast.ts";
import { runOk } from "../support/run-command.ts";
import { withTemporaryFolder } from "../support/temporary-folder.ts";
import { describeTree } from "./describe-tree.ts";

/** The passphrase of all golden repositories. */
const PASSWORD = "golden";
const KIBIBYTE = 1024;

const folder = path.join(import.meta.dirname, `v${FORMAT_VERSION}`);
if (existsSync(folder)) throw new Error(`${folder} is there already, and must stay as it is`);

await withTemporaryFolder(async (place) => {
  const source = path.join(place, "source");
  const env = {
    HOLDFAST_REPOSITORY: path.join(folder, "repository"),
    HOLDFAST_PASSWORD: PASSWORD,
    HOLDFAST_CACHE_DIR: path.join(place, "cache"),
  };
  mkdirSync(folder);
  writeFileSync(path.join(folder, "password"), `${PASSWORD}\n`);
  await holdfastOk(["init"], { env });
  for (const [day, change] of [makeFirst, makeSecond, makeThird].entries()) {
    await change(source);
    await setTimes(source);
    const time = `2026-11-2${day} 10:00:00`;
    await holdfastOk(["backup", "--host", "golden", "--tag", `day-${day}`, "--time", time, "."], {
      env: { ...env, TZ: "UTC" },
      cwd: source,
    });
    if (day > 0) writeFileSync(path.join(folder, `contents-${day}`), await describeTree(source), "latin1");
  }
  // Of the first day's frames little is needed then, so that they are laid anew, with a note of what they were.
  await holdfastOk(["forget", "--keep-last", "2"], { env });
  await holdfastOk(["prune", "--max-unused", "0"], { env });
});

async function makeFirst(source: string): Promise<void> {
  const inner = path.join(source, "folder");
  mkdirSync(inner, { recursive: true });
  writeFileSync(path.join(source, "text"), "A golden repository must be read for ever.\n".repeat(500));
  writeFileSync(path.join(source, "empty"), "");
  writeFileSync(path.join(source, "random"), scrambledBytes("golden", 20 * KIBIBYTE));
  // Long enough to be cut into several pieces, and easily compressed.
  writeFileSync(path.join(source, "long"), scrambledBytes("long", 997).toString("hex").repeat(3000));
  writeFileSync(path.join(source, "sparse"), "before the hole");
  truncateSync(path.join(source, "sparse"), 3_000_000);
  linkSync(path.join(source, "random"), path.join(inner, "hard-link"));
  symlinkSync("../text", path.join(inner, "link"));
  symlinkSync(Buffer.from([0xff, 0xfe]), path.join(inner, "odd-link"));
  writeFileSync(Buffer.concat([Buffer.from(`${inner}/not UTF-8 `), Buffer.from([0xe9, 0x0a])]), "odd name");
  await runOk("mkfifo", ["-m", "640", path.join(inner, "fifo")]);
  await runOk("setfattr", ["-n", "user.golden", "-v", "yes", path.join(source, "text")]);
  await runOk("chmod", ["4750", path.join(source, "empty")]);
  // Gone on the second day.
  mkdirSync(path.join(source, "passing"));
  for (let number = 0; number < 15; number++) {
    writeFileSync(path.join(source, `passing/${number}`), scrambledBytes(`passing ${number}`, 2 * KIBIBYTE));
  }
  // So many that the tree of this folder is stored in parts.
  mkdirSync(path.join(source, "many"));
  for (let number = 0; number < 6000; number++) writeFileSync(path.join(source, `many/${number}`), "");
}

function makeSecond(source: string): Promise<void> {
  rmSync(path.join(source, "passing"), { recursive: true });
  writeFileSync(path.join(source, "text"), "A golden repository must be read for ever.\n".repeat(501));
  writeFileSync(path.join(source, "folder/new"), "in the second snapshot\n");
  return Promise.resolve();
}

function makeThird(source: string): Promise<void> {
  writeFileSync(path.join(source, "folder/third"), "in the third snapshot\n");
  return Promise.resolve();
}

/** The same times whenever it is made, some with nanoseconds, one before 1970. */
async function setTimes(source: string): Promise<void> {
  await runOk("find", [source, "-depth", "-exec", "touch", "-h", "-d", "2026-01-02 03:04:05.123456789Z", "{}", "+"]);
  await runOk("touch", ["-d", "@-5.25", path.join(source, "empty")]);
  utimesSync(source, 1_800_000_000, 1_800_000_000);
}
