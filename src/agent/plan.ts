/** What an agent saves where nobody says anything: every local file system, and why each mount is in or out. */
import { isNetworkFileSystem, isVirtualFileSystem, type Mount } from "../platform/mounts.ts";
import { displayPath, type RawPath } from "../platform/raw-path.ts";

export interface PlannedMount {
  readonly mountPoint: RawPath;
  readonly type: string;
  readonly source: RawPath;
  readonly isIn: boolean;
  /** A few words. */
  readonly why: string;
}

export interface Plan {
  /** In the order of their mount points. */
  readonly mounts: readonly PlannedMount[];
  /** Mount points to walk, each without leaving its file system. */
  readonly roots: readonly RawPath[];
  readonly excludes: readonly string[];
}

/**
 * What can be made anew by whoever made it, or has no meaning after a restart. Patterns as for `--exclude`. Folders with
 * a CACHEDIR.TAG are left out besides.
 */
export const DEFAULT_EXCLUDES: readonly string[] = [
  "/tmp/*",
  "/var/tmp/*",
  "/var/cache/*",
  "/var/lib/systemd/coredump/*",
  "/var/swap*",
  "/swap.img",
  "/swapfile",
  "/home/*/.cache/*",
  "/root/.cache/*",
  "/home/*/.local/share/Trash/*",
  "/root/.local/share/Trash/*",
  "lost+found/*",
];

/** `activeSwap` are the files that the kernel swaps to, from /proc/swaps. */
export function planMounts(mounts: readonly Mount[], activeSwap: readonly string[] = []): Plan {
  // Of several on one mount point the last is the one that is seen.
  const seen = [...new Map(mounts.map((mount) => [mount.mountPoint, mount])).values()].toSorted((a, b) =>
    a.mountPoint < b.mountPoint ? -1 : 1,
  );
  const walked = new Map<string, RawPath>();
  const planned = seen.map((mount): PlannedMount => {
    const { mountPoint, type, source } = mount;
    const reason = reasonAgainst(mount) ?? shownElsewhere(mount, walked);
    if (reason !== undefined) return { mountPoint, type, source, isIn: false, why: reason };
    walked.set(fileSystemOf(mount), mountPoint);
    return { mountPoint, type, source, isIn: true, why: "a local file system" };
  });
  return {
    mounts: planned,
    roots: planned.filter(({ isIn }) => isIn).map(({ mountPoint }) => mountPoint),
    excludes: [...DEFAULT_EXCLUDES, ...activeSwap],
  };
}

function fileSystemOf({ deviceMajor, deviceMinor }: Mount): string {
  return `${deviceMajor}:${deviceMinor}`;
}

function reasonAgainst({ type, source, mountPoint, options }: Mount): string | undefined {
  if (isVirtualFileSystem(type)) return "virtual: it does not outlive a restart";
  if (isNetworkFileSystem(type)) return "on another machine";
  if (type.startsWith("fuse.") || type === "fuse") return "a FUSE file system, which may be anything";
  if (/^\/dev\/loop\d/.test(source)) return "an image file, which is saved where it lies";
  if (type === "overlay" && mountPoint !== "/") return "layers of a container, which are saved where they lie";
  if (["squashfs", "iso9660", "udf", "erofs"].includes(type)) return "a read-only image";
  if (mountPoint !== "/" && /^\/(tmp|var\/tmp)(\/|$)/.test(mountPoint)) return "a temporary folder";
  if (/^\/(media|run\/media)\//.test(mountPoint)) return "a removable disc";
  if (options.includes("x-holdfast.skip")) return "marked x-holdfast.skip";
  return undefined;
}

/** Bind mounts and subvolumes show what another mount shows already; a subvolume of its own has a device of its own. */
function shownElsewhere(mount: Mount, walked: ReadonlyMap<string, RawPath>): string | undefined {
  const at = walked.get(fileSystemOf(mount));
  return at === undefined ? undefined : `part of what is mounted at ${displayPath(at)}`;
}

/** The files (not partitions) among /proc/swaps. */
export function swapFiles(procSwaps: string): string[] {
  return procSwaps
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [file, type] = line.split(/\s+/);
      return type === "file" ? [file.replaceAll("\\040", " ")] : [];
    });
}
