/**
 * A tree with one of everything that a backup can get wrong. Each kind lies in a folder of its own, so that a difference
 * found by `compareTrees` names what went wrong.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import path from "node:path";
import { run, runOk } from "./run-command.ts";
import type { CommandOptions } from "./run-command.ts";

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
const GIBIBYTE = 1024 * MEBIBYTE;

export interface AwkwardTreeOptions {
  /** With what only root can make: devices, foreign owners, capabilities, unreadable files, immutable files. */
  readonly asRoot: boolean;
}

/**
 * Parts of the tree that rsync cannot compare: paths longer than it can name, and holes that it would read in full.
 * Relative to the tree, with a slash at the start.
 */
export const BEYOND_RSYNC: readonly string[] = ["/deep", "/sparse/huge-hole", "/sparse/data-beyond-4-gib"];

/** Builds the tree in `folder`, which must exist and be empty. */
export async function buildAwkwardTree(folder: string, { asRoot }: AwkwardTreeOptions): Promise<void> {
  makeContent(folderIn(folder, "content"));
  makeEmpty(folderIn(folder, "empty"));
  makeHardLinks(folderIn(folder, "hard-links"));
  makeSparseFiles(folderIn(folder, "sparse"));
  makeNames(folderIn(folder, "names"));
  makeSymlinks(folderIn(folder, "symlinks"));
  makeDeepPath(folderIn(folder, "deep"));
  await makePipesAndSockets(folderIn(folder, "special"));
  await makeModes(folderIn(folder, "modes"));
  await makeAccessControlLists(folderIn(folder, "acls"));
  await makeExtendedAttributes(folderIn(folder, "xattrs"));
  await makeFlags(folderIn(folder, "flags"), { asRoot });
  if (asRoot) {
    await makeDevices(folderIn(folder, "devices"));
    makeOwners(folderIn(folder, "owners"));
    await makeRootAttributes(folderIn(folder, "root-xattrs"));
    makeUnreadable(folderIn(folder, "unreadable"));
  }
  await makeTimes(folderIn(folder, "times"));
}

/** Bytes that look random and are the same each time. */
export function scrambledBytes(seed: string, length: number): Buffer {
  return createHash("shake256", { outputLength: length }).update(seed).digest();
}

function folderIn(parent: string, name: string): string {
  const folder = path.join(parent, name);
  mkdirSync(folder);
  return folder;
}

/** A path with a name of any bytes: one character a byte. */
function bytePath(folder: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`, "utf8"), Buffer.from(name, "latin1")]);
}

/** Sizes at which chunkers, frames and blocks end, and content that is the same, shifted, or easily compressed. */
function makeContent(folder: string): void {
  const sizes = [1, 511, 4 * KIBIBYTE - 1, 4 * KIBIBYTE, 256 * KIBIBYTE, MEBIBYTE, MEBIBYTE + 1, 4 * MEBIBYTE + 1];
  for (const size of sizes) writeFileSync(path.join(folder, `random-${size}`), scrambledBytes(`size ${size}`, size));
  const large = scrambledBytes("large", 9 * MEBIBYTE);
  writeFileSync(path.join(folder, "large"), large);
  writeFileSync(path.join(folder, "large-again"), large);
  writeFileSync(path.join(folder, "large-shifted"), Buffer.concat([Buffer.from("one more line\n"), large]));
  writeFileSync(path.join(folder, "written-zeros"), Buffer.alloc(2 * MEBIBYTE));
  writeFileSync(path.join(folder, "text"), "All work and no play makes Jack a dull boy.\n".repeat(20_000));
}

function makeEmpty(folder: string): void {
  writeFileSync(path.join(folder, "file"), "");
  mkdirSync(path.join(folder, "folder"));
  mkdirSync(path.join(folder, "folder-of-empty", "inner"), { recursive: true });
}

function makeHardLinks(folder: string): void {
  const near = path.join(folder, "near");
  const far = path.join(folder, "far");
  mkdirSync(near);
  mkdirSync(far);
  writeFileSync(path.join(near, "first"), "three names, one inode\n");
  linkSync(path.join(near, "first"), path.join(near, "second"));
  linkSync(path.join(near, "first"), path.join(far, "third"));
  writeFileSync(path.join(far, "big"), scrambledBytes("hard link", 3 * MEBIBYTE));
  linkSync(path.join(far, "big"), path.join(near, "big"));
  writeFileSync(path.join(far, "empty"), "");
  linkSync(path.join(far, "empty"), path.join(near, "empty"));
  symlinkSync("first", path.join(near, "symlink"));
  linkSync(path.join(near, "symlink"), path.join(far, "symlink"));
}

function makeSparseFiles(folder: string): void {
  const data = scrambledBytes("sparse", 64 * KIBIBYTE);
  const sparse = (name: string, sizeBytes: number, dataAt: readonly number[]): void => {
    const descriptor = openSync(path.join(folder, name), "wx");
    for (const offset of dataAt) writeSync(descriptor, data, 0, data.length, offset);
    ftruncateSync(descriptor, sizeBytes);
    // Holes are only sure to be seen once delayed allocation has happened.
    fsyncSync(descriptor);
    closeSync(descriptor);
  };
  sparse("hole-at-start", MEBIBYTE, [MEBIBYTE - data.length]);
  sparse("hole-at-end", 5 * MEBIBYTE, [0]);
  sparse("hole-at-both-ends", 8 * MEBIBYTE + 123, [3 * MEBIBYTE]);
  sparse("hole-in-the-middle", 2 * MEBIBYTE, [0, 2 * MEBIBYTE - data.length]);
  sparse(
    "many-holes",
    16 * MEBIBYTE,
    Array.from({ length: 64 }, (_, index) => index * 256 * KIBIBYTE),
  );
  sparse("unaligned", 3 * MEBIBYTE + 1, [MEBIBYTE + 777]);
  sparse("all-hole", 10 * MEBIBYTE, []);
  sparse("data-beyond-4-gib", 5 * GIBIBYTE, [4 * GIBIBYTE + 4096]);
  sparse("huge-hole", 100 * GIBIBYTE, []);
}

function makeNames(folder: string): void {
  const names = [
    "caf\xe9",
    "\xff\xfe\x80",
    "\xc3\x28 not UTF-8",
    "\xed\xa0\x80 half a surrogate",
    "new\nline",
    "\n",
    "tab\tand\rreturn",
    "\x1b[31mred\x1b[0m",
    "\x01\x7f",
    " space at both ends ",
    "-rf",
    "--delete",
    "back\\slash",
    "\\x41",
    "quotes ' and \"",
    "* ? [a] {b}",
    "$HOME `id` $(id)",
    "...",
    "~",
    "#comment",
    "!important",
    "a:b@c",
    "name",
    "NAME",
    "x".repeat(255),
    "\xf0\x9f\xa6\x80".repeat(63) + "abc",
    "\xff".repeat(255),
    Buffer.from("e\u0301 decomposed", "utf8").toString("latin1"),
    Buffer.from("\u00e9 composed", "utf8").toString("latin1"),
    Buffer.from("\u202eright to left", "utf8").toString("latin1"),
  ];
  for (const name of names) writeFileSync(bytePath(folder, name), name, "latin1");
  for (const name of ["folder \xff", "folder\n", "d".repeat(255)]) {
    mkdirSync(bytePath(folder, name));
    writeFileSync(bytePath(folder, `${name}/file \xfe\n`), name, "latin1");
  }
}

function makeSymlinks(folder: string): void {
  const link = (name: string, target: string | Buffer): void => symlinkSync(target, path.join(folder, name));
  link("dangling", "no/such/file");
  link("absolute", "/etc/passwd");
  link("to-file", "../content/text");
  link("to-folder", "../content");
  link("loop-a", "loop-b");
  link("loop-b", "loop-a");
  link("to-itself", "to-itself");
  link("out-of-the-tree", "../../../../../../etc");
  link("here", ".");
  // The longest that all file systems take: xfs stores 1,023 bytes, ext4 a block less one.
  link("longest", "t".repeat(1000));
  link("not-utf8", Buffer.from([0x61, 0xff, 0x0a, 0x62]));
}

/** Folders in folders until the path is about 5,200 bytes; no system call takes such a path in one piece. */
export function makeDeepPath(folder: string): void {
  const name = "deep-".padEnd(200, "d");
  let descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  for (let level = 0; level < 26; level++) {
    const inner = `/proc/self/fd/${descriptor}/${name}`;
    mkdirSync(inner);
    const next = openSync(inner, constants.O_RDONLY | constants.O_DIRECTORY);
    closeSync(descriptor);
    descriptor = next;
  }
  const bottom = `/proc/self/fd/${descriptor}`;
  writeFileSync(`${bottom}/file`, "all the way down\n");
  linkSync(`${bottom}/file`, `${bottom}/hard-link`);
  symlinkSync("file", `${bottom}/symlink`);
  mkdirSync(`${bottom}/empty`);
  closeSync(descriptor);
}

async function makePipesAndSockets(folder: string): Promise<void> {
  await runOk("mkfifo", ["-m", "640", path.join(folder, "fifo")]);
  linkSync(path.join(folder, "fifo"), path.join(folder, "fifo-hard-link"));
  // A server takes its socket away when it closes; under another name it stays. The kernel takes 107 bytes of path.
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  const server = createServer().listen(`/proc/self/fd/${descriptor}/listening`);
  await once(server, "listening");
  renameSync(path.join(folder, "listening"), path.join(folder, "socket"));
  server.close();
  closeSync(descriptor);
}

async function makeModes(folder: string): Promise<void> {
  for (const mode of [0o4755, 0o2755, 0o6711, 0o1644, 0o777, 0o400, 0o4644]) {
    const file = path.join(folder, `file-${mode.toString(8).padStart(4, "0")}`);
    writeFileSync(file, file);
    chmodSync(file, mode);
  }
  for (const mode of [0o1777, 0o2775, 0o3770, 0o700, 0o555]) {
    const inner = folderIn(folder, `folder-${mode.toString(8).padStart(4, "0")}`);
    writeFileSync(path.join(inner, "file"), "in a folder\n");
    chmodSync(inner, mode);
  }
  const fifo = path.join(folder, "fifo-4622");
  await runOk("mkfifo", [fifo]);
  chmodSync(fifo, 0o4622);
}

/** Mode 000: only root gets past it, so a normal user's backup has to leave these out. */
function makeUnreadable(folder: string): void {
  writeFileSync(path.join(folder, "file"), "secret\n");
  chmodSync(path.join(folder, "file"), 0);
  const inner = folderIn(folder, "folder");
  writeFileSync(path.join(inner, "file"), "in a folder\n");
  chmodSync(inner, 0);
}

async function makeAccessControlLists(folder: string): Promise<void> {
  const file = path.join(folder, "file");
  writeFileSync(file, "for some\n");
  await runOk("setfacl", ["-m", "u:12345:rw,u:0:r,g:54321:r,m::rw", file]);
  const masked = path.join(folder, "masked");
  writeFileSync(masked, "for fewer\n");
  await runOk("setfacl", ["-m", "u:12345:rwx,m::r", masked]);
  const inner = folderIn(folder, "folder-with-default");
  await runOk("setfacl", ["-m", "u:12345:rwx,d:u:12345:rwx,d:g:54321:rx,d:o::-", inner]);
  writeFileSync(path.join(inner, "inherits"), "from the folder\n");
  mkdirSync(path.join(inner, "inherits-too"));
  // What restore creates here must not inherit what it had not.
  const plain = path.join(inner, "plain");
  writeFileSync(plain, "does not\n");
  await runOk("setfacl", ["-b", plain]);
}

async function makeExtendedAttributes(folder: string): Promise<void> {
  const file = path.join(folder, "file");
  writeFileSync(file, "attributed\n");
  await setAttribute(file, "user.text", "some text");
  await setAttribute(file, "user.empty", "");
  await setAttribute(file, "user.binary", "0x00ff0a0d00");
  await setAttribute(file, "user.Ünïcode \n name", "value");
  const large = path.join(folder, "large");
  writeFileSync(large, "");
  // As much as a file system that keeps attributes in one block of 4 KiB takes.
  await setAttribute(large, "user.large", `0x${scrambledBytes("attribute", 3000).toString("hex")}`);
  const many = path.join(folder, "many");
  writeFileSync(many, "");
  for (let index = 0; index < 40; index++) await setAttribute(many, `user.number-${index}`, String(index));
  await setAttribute(folderIn(folder, "folder"), "user.on-a-folder", "yes");
}

function setAttribute(file: string, name: string, value: string): Promise<string> {
  return runOk("setfattr", ["-h", "-n", name, "-v", value, file]);
}

async function makeFlags(folder: string, { asRoot }: { asRoot: boolean }): Promise<void> {
  const flagged = async (name: string, flags: string): Promise<void> => {
    const file = path.join(folder, name);
    writeFileSync(file, `${name}\n`);
    await setFlags(file, flags);
  };
  await flagged("no-dump", "+d");
  if (!asRoot) return;
  await flagged("immutable", "+i");
  await flagged("append-only", "+a");
  const inner = folderIn(folder, "immutable-folder");
  writeFileSync(path.join(inner, "file"), "in an immutable folder\n");
  await setFlags(inner, "+i");
}

/** Some file systems have no such flags (tmpfs before Linux 6.6): then there are none to keep. */
async function setFlags(file: string, flags: string): Promise<void> {
  const result = await run("chattr", [flags, file]);
  if (result.status !== 0 && !/not supported|Inappropriate ioctl/.test(result.stderr)) throw new Error(result.stderr);
}

async function makeDevices(folder: string): Promise<void> {
  const device = (name: string, type: "b" | "c", major: number, minor: number): Promise<string> =>
    runOk("mknod", ["-m", "640", path.join(folder, name), type, String(major), String(minor)]);
  await device("null", "c", 1, 3);
  await device("character-large", "c", 300, 70_000);
  // The largest that xfs takes.
  await device("character-largest", "c", 511, 262_143);
  await device("block", "b", 7, 0);
  await device("block-large", "b", 259, 1000);
  linkSync(path.join(folder, "block"), path.join(folder, "block-hard-link"));
}

function makeOwners(folder: string): void {
  for (const [uid, gid] of [
    [12_345, 54_321],
    [65_534, 65_534],
    [4_000_000_000, 4_000_000_001],
  ]) {
    const file = path.join(folder, `${uid}-${gid}`);
    writeFileSync(file, "owned by another\n");
    chownSync(file, uid, gid);
    // Changing the owner takes these bits away, so restore must set them after.
    chmodSync(file, 0o6755);
  }
}

async function makeRootAttributes(folder: string): Promise<void> {
  const capable = path.join(folder, "capable");
  writeFileSync(capable, "#!/bin/true\n", { mode: 0o755 });
  chownSync(capable, 12_345, 54_321);
  await runOk("setcap", ["cap_net_raw,cap_net_bind_service+ep", capable]);
  const trusted = path.join(folder, "trusted");
  writeFileSync(trusted, "");
  await setAttribute(trusted, "trusted.overlay.opaque", "y");
  symlinkSync("trusted", path.join(folder, "symlink"));
  await setAttribute(path.join(folder, "symlink"), "trusted.on-a-symlink", "yes");
}

/** Last of all, because whatever is made in a folder changes the folder's own time. */
async function makeTimes(folder: string): Promise<void> {
  const times: readonly (readonly [name: string, time: string])[] = [
    ["epoch", "@0"],
    ["last-nanosecond", "@1000000000.999999999"],
    ["first-nanosecond", "@1000000000.000000001"],
    ["just-before-1970", "@-0.500000001"],
    ["before-1970", "@-86400.123456789"],
    ["1901", "@-2147483647"],
    ["after-2038", "@2147483648.987654321"],
    ["2242", "@8589934591.000000009"],
    ["future", "@4102444800"],
  ];
  const options: CommandOptions = { cwd: folder };
  for (const [name, time] of times) {
    writeFileSync(path.join(folder, `file-${name}`), "");
    mkdirSync(path.join(folder, `folder-${name}`));
    symlinkSync("nowhere", path.join(folder, `symlink-${name}`));
    await runOk("mkfifo", [`fifo-${name}`], options);
    const names = ["file", "folder", "symlink", "fifo"].map((kind) => `${kind}-${name}`);
    await runOk("touch", ["-h", "-d", time, ...names], options);
  }
  await runOk("touch", ["-d", "@1234567890.123456789", folder]);
}
