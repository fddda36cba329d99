/**
 * What was a folder or a file when it was looked at may be a link a moment later, if somebody else can write to the
 * target. So each step by itself must not follow one.
 */
import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import type { FileEntry } from "../format/tree.ts";
import { closeFd } from "../platform/open.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { statAt } from "../platform/stat.ts";
import { makeChangeable } from "./attributes.ts";
import { openFolderAt } from "./open-folder.ts";
import { removeAt } from "./remove.ts";
import {
  createFile,
  openToChange,
  openToCompare,
  settleAttributes,
  type FilePlace,
  type FileRules,
} from "./target-file.ts";

interface Scene {
  readonly folderFd: number;
  readonly inside: string;
  readonly outside: string;
}

const NAME = "name" as RawPath;

/** A folder with a link to something outside; `outside` holds a file and a folder. */
function scene(t: TestContext, linkTo: "file" | "folder"): Scene {
  const top = mkdtempSync(path.join(tmpdir(), "holdfast-no-follow-"));
  const [inside, outside] = [path.join(top, "inside"), path.join(top, "outside")];
  mkdirSync(inside);
  mkdirSync(path.join(outside, "folder"), { recursive: true });
  writeFileSync(path.join(outside, "file"), "outside", { mode: 0o640 });
  symlinkSync(path.join(outside, linkTo), path.join(inside, NAME));
  const folderFd = openSync(inside, constants.O_RDONLY | constants.O_DIRECTORY);
  t.after(() => {
    closeSync(folderFd);
    rmSync(top, { recursive: true });
  });
  return { folderFd, inside, outside };
}

const ENTRY: FileEntry = {
  name: NAME,
  type: "file",
  mode: 0o600,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  user: "",
  group: "",
  mtimeSeconds: 5,
  mtimeNanoseconds: 0,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
  sizeBytes: 7,
  content: [],
  holes: [],
};

const RULES: FileRules = {
  overwrite: "always",
  removeFolders: true,
  policy: { asRoot: false, uid: ENTRY.uid, gids: [ENTRY.gid], byName: false },
};

function placeIn({ folderFd }: Scene): FilePlace {
  return { folderFd, entry: ENTRY, inheritsAcl: false, leaveWritable: false };
}

test("a link is not opened as a folder", (t) => {
  const { folderFd } = scene(t, "folder");
  assert.throws(() => openFolderAt(folderFd, NAME), { code: "ENOTDIR" });
});

test("a link is opened neither to be compared nor to be changed", (t) => {
  const { folderFd } = scene(t, "file");
  assert.throws(() => openToCompare(folderFd, NAME), { code: "ELOOP" });
  const looked = { ...statAt(folderFd, NAME), type: "file", links: 1 } as const;
  assert.throws(() => openToChange(folderFd, NAME, looked), { code: "ELOOP" });
  assert.throws(() => makeChangeable(folderFd, NAME, { ...looked, inodeFlags: 1 }), { code: "ELOOP" });
});

test("where nothing was a moment ago, a link is not written through", (t) => {
  const here = scene(t, "file");
  assert.throws(() => createFile(placeIn(here), undefined, RULES), { code: "EEXIST" });
  unlinkSync(path.join(here.inside, NAME));
  symlinkSync(path.join(here.outside, "new"), path.join(here.inside, NAME));
  assert.throws(() => createFile(placeIn(here), undefined, RULES), { code: "EEXIST" });
  assert.deepEqual(readdirSync(here.outside), ["file", "folder"]);
});

test("a link that takes the place of what is replaced is itself replaced", (t) => {
  const here = scene(t, "file");
  const existing = { ...statAt(here.folderFd, NAME), type: "file" } as const;
  const created = createFile(placeIn(here), existing, RULES);
  created.finish(() => undefined);
  assert.equal(readFileSync(path.join(here.inside, NAME), "utf8"), "");
  assert.equal(readFileSync(path.join(here.outside, "file"), "utf8"), "outside");
});

test("a link that takes the place of a folder is not gone into to remove what is in it", (t) => {
  const here = scene(t, "folder");
  writeFileSync(path.join(here.outside, "folder/precious"), "");
  const looked = statAt(here.folderFd, "." as RawPath);
  assert.throws(() => removeAt(here.folderFd, NAME, looked, { recursive: true }), { code: "ENOTDIR" });
  assert.deepEqual(readdirSync(path.join(here.outside, "folder")), ["precious"]);
});

test("another name of a file outside that takes the place of a file of one's own is not changed", (t) => {
  const here = scene(t, "file");
  unlinkSync(path.join(here.inside, NAME));
  linkSync(path.join(here.outside, "file"), path.join(here.inside, NAME));
  const looked = { ...statAt(here.folderFd, NAME), links: 1 };
  assert.equal(openToChange(here.folderFd, NAME, looked), undefined);
  const fd = openToCompare(here.folderFd, NAME) as number;
  assert.equal(
    settleAttributes(placeIn(here), fd, RULES, false, () => undefined),
    "must be made anew",
  );
  closeFd(fd);
  assert.equal(statSync(path.join(here.outside, "file")).mode & 0o777, 0o640);
});

test("a folder without rights for its owner is opened by giving them back", (t) => {
  const here = scene(t, "folder");
  mkdirSync(path.join(here.inside, "closed"));
  chmodSync(path.join(here.inside, "closed"), 0o050);
  closeFd(openFolderAt(here.folderFd, "closed" as RawPath));
  assert.equal(statSync(path.join(here.inside, "closed")).mode & 0o700, 0o700);
});
