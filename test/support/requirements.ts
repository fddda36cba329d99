import { accessSync, constants } from "node:fs";
import path from "node:path";

/** True where tests run with all rights: devices, mounts, foreign owners. */
export const isRoot = process.getuid?.() === 0;

export interface Requirements {
  readonly root?: boolean;
  /** Programs that must be on the path. */
  readonly commands?: readonly string[];
}

/**
 * For the `skip` option of a test: false where all is there, otherwise what is missing, so that the runner shows it.
 * `scripts/test` installs what it can beforehand.
 */
export function skipUnless(requirements: Requirements): string | false {
  if (requirements.root === true && !isRoot) return "needs root";
  const missing = (requirements.commands ?? []).filter((command) => !isOnPath(command));
  return missing.length === 0 ? false : `needs ${missing.join(", ")}`;
}

function isOnPath(command: string): boolean {
  const folders = `${process.env.PATH ?? ""}:/usr/sbin:/sbin`.split(":");
  return folders.some((folder) => isExecutable(path.join(folder, command)));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
