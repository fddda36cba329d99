import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { atEnd } from "./at-end.ts";
import type { Cleanup } from "./at-end.ts";
import { run } from "./run-command.ts";

/** A new empty folder, removed with all that is in it when the test ends. */
export function temporaryFolder(t: Cleanup, prefix = "holdfast-test-"): string {
  const folder = mkdtempSync(path.join(tmpdir(), prefix));
  atEnd(t, () => removeTree(folder));
  return folder;
}

/** Removes a folder, whatever rights, flags, names and depths it holds. Never goes into another file system. */
export async function removeTree(folder: string): Promise<void> {
  const first = await run("rm", ["-rf", "--one-file-system", "--", folder]);
  if (first.status === 0) return;
  // Only where that failed: what is immutable as root, or unreadable as a user.
  await run("chattr", ["-R", "-f", "-i", "-a", "--", folder]);
  await run("chmod", ["-R", "u+rwX", "--", folder]);
  const second = await run("rm", ["-rf", "--one-file-system", "--", folder]);
  if (second.status !== 0) throw new Error(`could not remove ${folder}: ${second.stderr}`);
}

/** As `temporaryFolder`, where there is no test: the folder is there while `body` runs. */
export async function withTemporaryFolder<Result>(body: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-proof-"));
  try {
    return await body(folder);
  } finally {
    await removeTree(folder);
  }
}
