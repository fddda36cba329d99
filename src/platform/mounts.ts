import { readFileSync } from "node:fs";
import type { RawPath } from "./raw-path.ts";

/** One mounted file system, as this process sees it. */
export interface Mount {
  readonly mountPoint: RawPath;
  /** Which part of the file system is mounted: `/`, or else for bind mounts and subvolumes. */
  readonly root: RawPath;
  /** `ext4`, `nfs4`, `fuse.sshfs`, … */
  readonly type: string;
  /** What is mounted: a device, a server's export, or any word for virtual ones. */
  readonly source: RawPath;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Of the mount and of the file system: `rw`, `relatime`, `errors=remount-ro`, … */
  readonly options: readonly string[];
}

/** All mounts in the order they were made; of several on one mount point, the last is the one seen. */
export function mounts(): Mount[] {
  return parseMountInfo(readFileSync("/proc/self/mountinfo", "latin1"));
}

/** Reads proc_pid_mountinfo(5); lines that are not of its form are left out. */
export function parseMountInfo(text: string): Mount[] {
  return text
    .split("\n")
    .map(parseLine)
    .filter((mount) => mount !== undefined);
}

// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
const LINE = /^\d+ \d+ (\d+):(\d+) (\S+) (\S+) (\S+)(?: \S+)*? - (\S+) (\S*) (\S*)$/;

function parseLine(line: string): Mount | undefined {
  const match = LINE.exec(line);
  if (match === null) return undefined;
  const [, major, minor, root, mountPoint, mountOptions, type, source, superOptions] = match;
  return {
    mountPoint: unescape(mountPoint),
    root: unescape(root),
    type,
    source: unescape(source),
    deviceMajor: Number(major),
    deviceMinor: Number(minor),
    options: [...new Set([...mountOptions.split(","), ...superOptions.split(",")])].filter((option) => option !== ""),
  };
}

/** Space, tab, newline, backslash and # stand as three octal digits. */
function unescape(text: string): RawPath {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))) as RawPath;
}

const VIRTUAL_TYPES: ReadonlySet<string> = new Set([
  "autofs",
  "binfmt_misc",
  "bpf",
  "cgroup",
  "cgroup2",
  "configfs",
  "debugfs",
  "devpts",
  "devtmpfs",
  "efivarfs",
  "fuse.gvfsd-fuse",
  "fuse.lxcfs",
  "fuse.portal",
  "fusectl",
  "hugetlbfs",
  "mqueue",
  "nsfs",
  "proc",
  "pstore",
  "ramfs",
  "rpc_pipefs",
  "securityfs",
  "selinuxfs",
  "sysfs",
  "tmpfs",
  "tracefs",
]);

/** Whether a file system of this type has nothing that outlives a reboot (`proc`, `sysfs`, `tmpfs`, …). */
export function isVirtualFileSystem(type: string): boolean {
  return VIRTUAL_TYPES.has(type);
}

const NETWORK_TYPES: ReadonlySet<string> = new Set([
  "9p",
  "afs",
  "ceph",
  "cifs",
  "coda",
  "fuse.cephfs",
  "fuse.davfs",
  "fuse.glusterfs",
  "fuse.rclone",
  "fuse.s3fs",
  "fuse.sshfs",
  "glusterfs",
  "lustre",
  "ncpfs",
  "nfs",
  "nfs4",
  "smb3",
  "smbfs",
]);

/** Whether a file system of this type lies on another machine. */
export function isNetworkFileSystem(type: string): boolean {
  return NETWORK_TYPES.has(type);
}
