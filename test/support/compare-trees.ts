import assert from "node:assert/strict";
import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { run, runOkBytes } from "./run-command.ts";
import type { CommandOptions } from "./run-command.ts";

export interface CompareOptions {
  /** Left out of the comparison by rsync, not of the others: see `BEYOND_RSYNC`. */
  readonly beyondRsync?: readonly string[];
}

/**
 * Fails with what differs, unless `copy` is the same as `original` in content, names, types, modes, owners, times to the
 * nanosecond, hard links, devices, holes, extended attributes, ACLs and inode flags.
 *
 * Other programs judge: rsync, GNU tar, find, getfattr and lsattr. Holdfast's own code has no part in it.
 */
export async function assertSameTree(original: string, copy: string, options: CompareOptions = {}): Promise<void> {
  await assertRsyncFindsNoDifference(original, copy, options.beyondRsync ?? []);
  await assertSameOutput(original, copy, listWithFind);
  await assertSameOutput(original, copy, dumpAttributesAndFlags);
  await assertSameOutput(original, copy, hashOfTarArchive);
  await assertHolesAreKept(original, copy);
}

async function assertRsyncFindsNoDifference(
  original: string,
  copy: string,
  excluded: readonly string[],
): Promise<void> {
  const result = await run("rsync", [
    "-aHAXS",
    "--dry-run",
    "--itemize-changes",
    "--checksum",
    "--delete",
    "--numeric-ids",
    ...excluded.map((path) => `--exclude=${path}`),
    `${original}/`,
    `${copy}/`,
  ]);
  assert.equal(result.stdout + result.stderr, "", `rsync finds differences between ${original} and ${copy}`);
  assert.equal(result.status, 0);
}

async function assertSameOutput(
  original: string,
  copy: string,
  describe: (folder: string) => Promise<string[]>,
): Promise<void> {
  const [expected, actual] = await Promise.all([describe(original), describe(copy)]);
  const missing = onlyIn(expected, actual).map((line) => `- ${line}`);
  const added = onlyIn(actual, expected).map((line) => `+ ${line}`);
  const differences = [...missing, ...added];
  if (differences.length === 0) return;
  const shown = differences.slice(0, 40).join("\n");
  assert.fail(`${describe.name}: ${differences.length} lines differ between ${original} and ${copy}:\n${shown}`);
}

function onlyIn(lines: readonly string[], others: readonly string[]): string[] {
  const known = new Set(others);
  return lines.filter((line) => !known.has(line));
}

/** Type, mode, owners, size, mtime, link count and target of each name, however long its path is. */
async function listWithFind(folder: string): Promise<string[]> {
  const format = "%P %y %m %U:%G size=%s mtime=%T@ links=%n -> %l\\0";
  const folderFormat = "%P %y %m %U:%G mtime=%T@\\0";
  return (
    await splitOutput("find", [".", "-type", "d", "-printf", folderFormat, "-o", "-printf", format], { cwd: folder })
  ).toSorted();
}

/** Content of everything, however long its path is. This format of tar leaves attributes out; others compare those. */
async function hashOfTarArchive(folder: string): Promise<string[]> {
  const tar =
    "tar --create --sort=name --format=gnu --numeric-owner --sparse --hole-detection=seek --warning=no-file-ignored .";
  return splitOutput("bash", ["-o", "pipefail", "-c", `${tar} | sha256sum`], { cwd: folder });
}

/** Extended attributes of all names, and the inode flags of files and folders that a backup keeps. */
async function dumpAttributesAndFlags(folder: string): Promise<string[]> {
  const lines: string[] = [];
  await eachFolder(folder, async (inner, shownPath) => {
    // Names go through a pipe, because they may be bytes that an argument here cannot hold.
    const names = "find . -maxdepth 1 -print0 | sort -z";
    const dump = `${names} | xargs -0 -r getfattr -h -d -m - -e hex --`;
    for (const section of (await runOkBytes("sh", ["-c", dump], { cwd: inner })).toString("latin1").split("\n\n")) {
      if (section.trim() !== "") lines.push(`${shownPath}: ${section.trim()}`);
    }
    const flags = await run("sh", ["-c", `find . -maxdepth 1 ! -type l -print0 | sort -z | xargs -0 -r lsattr -d --`], {
      cwd: inner,
    });
    for (const line of flags.stdoutBytes.toString("latin1").split("\n")) {
      const kept = /^[a-zA-Z-]{10,} /.test(line) ? line.slice(0, line.indexOf(" ")).replaceAll(/[^iad]/g, "") : "";
      if (kept !== "") lines.push(`${shownPath}: flags ${kept} ${line.slice(line.indexOf(" "))}`);
    }
  });
  return lines;
}

/** A copy may take less space than the original, but not more than a few blocks a file: holes must be holes. */
async function assertHolesAreKept(original: string, copy: string): Promise<void> {
  const [expected, actual] = [await blocksByPath(original), await blocksByPath(copy)];
  const SLACK_BLOCKS = (64 * 1024) / 512;
  for (const [path, blocks] of actual) {
    const allowed = (expected.get(path) ?? 0) + SLACK_BLOCKS;
    assert.ok(
      blocks <= allowed,
      `${path} takes ${blocks} blocks of 512 bytes in ${copy}, but at most ${allowed} should`,
    );
  }
}

async function blocksByPath(folder: string): Promise<Map<string, number>> {
  const lines = await splitOutput("find", [".", "-type", "f", "-printf", "%b %P\\0"], { cwd: folder });
  return new Map(lines.map((line) => [line.slice(line.indexOf(" ") + 1), Number.parseInt(line, 10)]));
}

/** Visits a folder and all below it, through descriptors, because paths may be longer than the kernel takes. */
async function eachFolder(
  folder: string | Buffer,
  visit: (reachableAs: string, shownPath: string) => Promise<void>,
  shownPath = ".",
): Promise<void> {
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const reachableAs = `/proc/${process.pid}/fd/${descriptor}`;
    await visit(reachableAs, shownPath);
    for (const entry of readdirSync(reachableAs, { withFileTypes: true, encoding: "buffer" })) {
      if (!entry.isDirectory()) continue;
      const inner = Buffer.concat([Buffer.from(`${reachableAs}/`), entry.name]);
      await eachFolder(inner, visit, `${shownPath}/${entry.name.toString("latin1")}`);
    }
  } finally {
    closeSync(descriptor);
  }
}

async function splitOutput(command: string, args: readonly string[], options: CommandOptions): Promise<string[]> {
  const output = await runOkBytes(command, args, options);
  return output
    .toString("latin1")
    .split("\0")
    .filter((line) => line !== "");
}
