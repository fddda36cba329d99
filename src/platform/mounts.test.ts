import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { describe, it } from "node:test";
import { atEnd } from "../../test/support/at-end.ts";
import { skipUnless } from "../../test/support/requirements.ts";
import { runOk } from "../../test/support/run-command.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { isNetworkFileSystem, isVirtualFileSystem, mounts, parseMountInfo } from "./mounts.ts";
import { AT_FDCWD } from "./open.ts";
import { rawPathFromText } from "./raw-path.ts";
import { statAt } from "./stat.ts";

describe("mounts", () => {
  it("are read from lines with and without optional fields", () => {
    const text = [
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
      "37 35 0:22 / /proc rw,relatime - proc proc rw",
      "38 35 0:50 / /a\\040b\\011c\\012d\\134e rw shared:5 master:6 unbindable - fuse.sshfs me@host:/x\\040y rw",
      "this is no line of mountinfo",
      "",
    ].join("\n");
    assert.deepEqual(parseMountInfo(text), [
      {
        mountPoint: "/mnt2",
        root: "/mnt1",
        type: "ext3",
        source: "/dev/root",
        deviceMajor: 98,
        deviceMinor: 0,
        options: ["rw", "noatime", "errors=continue"],
      },
      {
        mountPoint: "/proc",
        root: "/",
        type: "proc",
        source: "proc",
        deviceMajor: 0,
        deviceMinor: 22,
        options: ["rw", "relatime"],
      },
      {
        mountPoint: "/a b\tc\nd\\e",
        root: "/",
        type: "fuse.sshfs",
        source: "me@host:/x y",
        deviceMajor: 0,
        deviceMinor: 50,
        options: ["rw"],
      },
    ]);
  });

  it("of this machine have the device that stat gives, and each line is understood", () => {
    const all = mounts();
    const top = all.findLast((mount) => mount.mountPoint === "/");
    const { deviceMajor, deviceMinor } = statAt(AT_FDCWD, rawPathFromText("/"));
    assert.deepEqual([top?.deviceMajor, top?.deviceMinor], [deviceMajor, deviceMinor]);
    assert.ok(all.some((mount) => mount.type === "proc" && mount.mountPoint === "/proc"));
  });

  it("show mount points of any bytes", { skip: skipUnless({ root: true, commands: ["mount"] }) }, async (t) => {
    const folder = `${temporaryFolder(t)}/a b\n\\é#`;
    mkdirSync(folder);
    await runOk("mount", ["-t", "tmpfs", "none", folder]);
    atEnd(t, async () => void (await runOk("umount", [folder])));
    assert.ok(mounts().some((mount) => mount.mountPoint === rawPathFromText(folder) && mount.type === "tmpfs"));
  });

  it("are told apart by type", () => {
    assert.ok(isVirtualFileSystem("sysfs") && isVirtualFileSystem("tmpfs") && !isVirtualFileSystem("ext4"));
    assert.ok(isNetworkFileSystem("nfs4") && isNetworkFileSystem("fuse.sshfs") && !isNetworkFileSystem("xfs"));
  });
});
