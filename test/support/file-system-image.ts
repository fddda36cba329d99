import { mkdirSync } from "node:fs";
import { truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { atEnd } from "./at-end.ts";
import type { Cleanup } from "./at-end.ts";
import { run, runOk } from "./run-command.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const MEBIBYTE = 1024 * 1024;

export interface FileSystemOptions {
  readonly type: "ext4" | "xfs" | "btrfs";
  /** xfs needs at least 300 MiB, btrfs 114 MiB; ext4 is content with little. */
  readonly sizeMebibytes: number;
}

/** A fresh small file system in a file, mounted until the test ends. Needs root. Returns the folder it is mounted on. */
export async function mountFileSystem(t: Cleanup, options: FileSystemOptions): Promise<string> {
  const folder = temporaryFolder(t, `holdfast-${options.type}-`);
  const image = path.join(folder, "image");
  const mountPoint = path.join(folder, "mounted");
  mkdirSync(mountPoint);
  await writeFile(image, "");
  await truncate(image, options.sizeMebibytes * MEBIBYTE);
  // Blocks as on a disc of usual size: ext4 would choose smaller ones here, which hold less of attributes and links.
  await runOk(`mkfs.${options.type}`, ["-q", ...(options.type === "ext4" ? ["-b", "4096"] : []), image]);
  await runOk("mount", ["-o", "loop", image, mountPoint]);
  atEnd(t, async () => {
    const result = await run("umount", [mountPoint]);
    // Something still holds it: let go of the name now, and of the rest when that ends.
    if (result.status !== 0) await run("umount", ["--lazy", mountPoint]);
  });
  return mountPoint;
}
