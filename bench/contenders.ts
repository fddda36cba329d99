/** How each program is told to do the same work. All that it needs to keep lies in one folder, its `place`. */
import path from "node:path";
import { shell } from "./measure.ts";
import type { Command } from "./measure.ts";

export interface Contender {
  readonly name: string;
  /** Not measured: makes the repository. */
  readonly prepare: (place: string) => readonly Command[];
  /** `run` counts from 0 in one place; runs after the first find what the one before left. */
  readonly backUp: (place: string, source: string, run: number) => Command;
  /** Brings the last backup back into `target`, an empty folder. */
  readonly restore?: (place: string, source: string, target: string) => Command;
  /** What in its place is the repository, if its size can be compared. */
  readonly repository?: (place: string) => string;
}

export const PASSWORD = "correct horse battery staple";
const CHECKOUT = path.resolve(import.meta.dirname, "..");

export const holdfast: Contender = {
  name: "holdfast",
  prepare: (place) => [holdfastCommand(place, ["init", "--quiet"])],
  backUp: (place, source) => holdfastCommand(place, ["backup", "--quiet", source]),
  restore: (place, _source, target) => holdfastCommand(place, ["restore", "latest", "--quiet", "--target", target]),
  repository: (place) => path.join(place, "repository"),
};

/** Any command of Holdfast on the repository of a place. */
export function holdfastCommand(place: string, args: readonly string[]): Command {
  return {
    argv: [path.join(CHECKOUT, "bin/holdfast"), ...args],
    env: {
      HOLDFAST_REPOSITORY: path.join(place, "repository"),
      HOLDFAST_PASSWORD: PASSWORD,
      HOLDFAST_CACHE_DIR: path.join(place, "cache"),
    },
  };
}

export const restic: Contender = {
  name: "restic",
  prepare: (place) => [resticCommand(place, ["init", "-q"])],
  backUp: (place, source) => resticCommand(place, ["backup", "-q", source]),
  restore: (place, _source, target) => resticCommand(place, ["restore", "-q", "latest", "--target", target]),
  repository: (place) => path.join(place, "repository"),
};

export function resticCommand(place: string, args: readonly string[]): Command {
  return {
    argv: ["restic", ...args],
    env: {
      RESTIC_REPOSITORY: path.join(place, "repository"),
      RESTIC_PASSWORD: PASSWORD,
      RESTIC_CACHE_DIR: path.join(place, "cache"),
    },
  };
}

export const borg: Contender = {
  name: "borg",
  prepare: (place) => [borgCommand(place, ["init", "-e", "repokey"])],
  backUp: (place, source, run) => borgCommand(place, ["create", `::run-${run}`, source]),
  restore: (place, _source, target) => ({
    ...shell('name=$(borg list --short --last 1) && cd "$1" && borg extract "::$name"', target),
    env: borgEnvironment(place),
  }),
  repository: (place) => path.join(place, "repository"),
};

export function borgCommand(place: string, args: readonly string[]): Command {
  return { argv: ["borg", ...args], env: borgEnvironment(place) };
}

function borgEnvironment(place: string): Record<string, string> {
  return {
    BORG_REPO: path.join(place, "repository"),
    BORG_PASSPHRASE: PASSWORD,
    BORG_BASE_DIR: place,
    BORG_RELOCATED_REPO_ACCESS_IS_OK: "yes",
  };
}

export const tarZstd: Contender = {
  name: "tar | zstd -3 -T0",
  prepare: () => [],
  backUp: (place, source) =>
    shell('tar -cf - -C / "${1#/}" | zstd -q -3 -T0 -f -o "$2"', source, path.join(place, "archive.tar.zst")),
  restore: (place, _source, target) =>
    shell('zstd -q -d -c "$1" | tar -xf - -C "$2"', path.join(place, "archive.tar.zst"), target),
  repository: (place) => path.join(place, "archive.tar.zst"),
};

export const rsyncLinkDest: Contender = {
  name: "rsync -a --link-dest",
  prepare: () => [],
  backUp: (place, source, run) => ({
    argv: [
      "rsync",
      "-a",
      ...(run === 0 ? [] : [`--link-dest=${path.join(place, `run-${run - 1}`)}`]),
      source,
      path.join(place, `run-${run}/`),
    ],
  }),
};

export const copy: Contender = {
  name: "cp -a",
  prepare: () => [],
  backUp: (place, source) => ({ argv: ["cp", "-a", source, path.join(place, "copy")] }),
  restore: (_place, source, target) => ({ argv: ["cp", "-a", source, path.join(target, "copy")] }),
};
