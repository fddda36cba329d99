import type { SnapshotView } from "../browse/snapshot-view.ts";
import type { RawPath } from "../platform/raw-path.ts";
import type { FrameReader } from "../repository/frame-reader.ts";
import type { Repository } from "../repository/repository.ts";
import type { Overwrite } from "./existing.ts";
import type { Select } from "./selection.ts";
import type { ShortfallSummary } from "./shortfalls.ts";

export interface RestoreOptions {
  readonly repository: Repository;
  readonly reader: FrameReader;
  /** What is in its top directory comes directly into the target. */
  readonly view: SnapshotView;
  /** Made if it is not there, with all folders above it. */
  readonly target: string;
  /** See `compileSelection`. Everything, if not given. */
  readonly select?: Select | undefined;
  /** `always`, if not given. */
  readonly overwrite?: Overwrite | undefined;
  /** Removes what is in restored folders but not in the snapshot, as far as it is selected. */
  readonly deleteExtra?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  /** Reads restored files again and compares their content. */
  readonly verify?: boolean | undefined;
  /** Makes long runs of zeros holes, besides those that the snapshot knows. */
  readonly sparse?: boolean | undefined;
  /** Owners by name, where this machine knows the name. */
  readonly ownersByName?: boolean | undefined;
  /** Leaves new files of which only parts can be had, with zeros for what is lost and the time 0. They are removed else. */
  readonly keepDamaged?: boolean | undefined;
  /** Worker threads; by default one a core, at most 8. */
  readonly workers?: number | undefined;
  readonly onProblem: (problem: RestoreProblem) => void;
  /** Told of each entry as it is done, for `--verbose`. */
  readonly onEntry?: ((path: RawPath, action: RestoreAction, sizeBytes: number) => void) | undefined;
  /** Updated as the run goes on; for progress lines. */
  readonly progress?: RestoreProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Something that could not be restored, or not as it should be; the run goes on. */
export interface RestoreProblem {
  /** Below the top directory of the view. */
  readonly path: RawPath;
  readonly error: unknown;
}

/** restic's words, and `skipped` for what is not to be overwritten. */
export type RestoreAction = "restored" | "updated" | "unchanged" | "skipped" | "deleted";

/** Grows as the run goes on. */
export interface RestoreProgress {
  files: number;
  directories: number;
  others: number;
  /** Logical size of the files that are done, however. */
  bytes: number;
  /** Of these, what was written. */
  writtenBytes: number;
  problems: number;
  /** Files read again by `verify`. */
  verified: number;
  /** What was last begun. */
  current: RawPath;
}

export function createRestoreProgress(): RestoreProgress {
  return {
    files: 0,
    directories: 0,
    others: 0,
    bytes: 0,
    writtenBytes: 0,
    problems: 0,
    verified: 0,
    current: "" as RawPath,
  };
}

export interface RestoreResult {
  /** Files, links and special files that were not there before. */
  readonly restored: number;
  /** Those that were there otherwise. */
  readonly updated: number;
  readonly unchanged: number;
  /** Those that were not to be overwritten, or that this user cannot make. */
  readonly skipped: number;
  readonly deleted: number;
  readonly directories: number;
  /** Logical size of all files among these. */
  readonly bytes: number;
  readonly writtenBytes: number;
  /** Files that were read again and found right; 0 without `verify`. */
  readonly verified: number;
  readonly problems: number;
  /** What this user or this file system cannot have. No problems. */
  readonly shortfalls: readonly ShortfallSummary[];
}
