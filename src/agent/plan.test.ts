import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMountInfo } from "../platform/mounts.ts";
import { planMounts, swapFiles } from "./plan.ts";

const line = (device: string, root: string, point: string, type: string, source: string) =>
  `36 35 ${device} ${root} ${point} rw,noatime - ${type} ${source} rw`;

const plan = (...lines: string[]) => planMounts(parseMountInfo(lines.join("\n")), ["/swap"]);

test("every local file system is in, whatever its type; each only once", () => {
  const { roots, mounts } = plan(
    line("8:1", "/", "/", "ext4", "/dev/sda1"),
    line("8:2", "/", "/home", "xfs", "/dev/sda2"),
    line("8:2", "/ann", "/srv/ann", "xfs", "/dev/sda2"),
    line("0:40", "/", "/data", "btrfs", "/dev/sdb"),
    line("0:41", "/", "/pool", "zfs", "tank/pool"),
  );
  assert.deepEqual(roots, ["/", "/data", "/home", "/pool"]);
  assert.equal(mounts.find(({ mountPoint }) => mountPoint === "/srv/ann")?.why, "part of what is mounted at /home");
});

for (const [what, type, source, point, why] of [
  ["virtual", "proc", "proc", "/proc", /virtual/],
  ["temporary", "tmpfs", "tmpfs", "/run", /virtual/],
  ["network", "nfs4", "nas:/x", "/mnt/nas", /another machine/],
  ["FUSE", "fuse.something", "thing", "/mnt/f", /FUSE/],
  ["loop", "ext4", "/dev/loop3", "/mnt/image", /image file/],
  ["snap", "squashfs", "/dev/sdz", "/snap/core", /read-only image/],
  ["container", "overlay", "overlay", "/var/lib/docker/overlay2/x/merged", /container/],
  ["stick", "vfat", "/dev/sdc1", "/media/stick", /removable/],
  ["own /tmp", "ext4", "/dev/sda9", "/tmp", /temporary/],
] as const) {
  test(`a ${what} mount is out, and it is said why`, () => {
    const { roots, mounts } = plan(line("8:1", "/", "/", "ext4", "/dev/sda1"), line("0:99", "/", point, type, source));
    assert.deepEqual(roots, ["/"]);
    assert.match(mounts.find(({ mountPoint }) => mountPoint === point)!.why, why);
  });
}

test("the root of a container is in; what is mounted over another is what counts", () => {
  assert.deepEqual(plan(line("0:50", "/", "/", "overlay", "overlay")).roots, ["/"]);
  const over = plan(
    line("8:1", "/", "/", "ext4", "/dev/sda1"),
    line("8:5", "/", "/mnt", "ext4", "/dev/sda5"),
    line("0:77", "/", "/mnt", "nfs4", "nas:/y"),
  );
  assert.deepEqual(over.roots, ["/"]);
});

test("swap files are left out, swap partitions are no files", () => {
  const text = "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1 partition 1 0 -2\n/my\\040swap file 1 0 -3\n";
  assert.deepEqual(swapFiles(text), ["/my swap"]);
  assert.ok(plan(line("8:1", "/", "/", "ext4", "/dev/sda1")).excludes.includes("/swap"));
});
