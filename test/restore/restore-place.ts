/** A folder to save, a repository in memory, and a target to restore into, by the engine's own modules. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { openSnapshotView } from "../../src/browse/open-snapshot-view.ts";
import type { SnapshotView } from "../../src/browse/snapshot-view.ts";
import { messageOf } from "../../src/errors.ts";
import type { DirectoryEntry } from "../../src/format/tree.ts";
import { rawPathFromText, type RawPath } from "../../src/platform/raw-path.ts";
import { openFrameReader } from "../../src/repository/frame-reader.ts";
import { findSnapshot } from "../../src/repository/snapshots.ts";
import { restoreSnapshot, type RestoreOptions, type RestoreResult } from "../../src/restore/restore.ts";
import { compileSelection, type SelectionPatterns } from "../../src/restore/selection.ts";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.ts";
import type { Cleanup } from "../support/at-end.ts";
import { newRepository, saveFolder } from "../support/library-repository.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

export interface RestorePlace {
  readonly source: string;
  /** Not made yet. */
  readonly target: string;
  readonly storage: MemoryStorage;
  /** Saves the source as it is now. */
  save(): Promise<void>;
  /** Restores what was saved last: what was in the source comes into the target. */
  restore(options?: Partial<RestoreOptions> & PlaceOptions): Promise<Restored>;
}

export interface PlaceOptions {
  readonly patterns?: SelectionPatterns;
  readonly changeView?: (view: SnapshotView) => SnapshotView;
}

export interface Restored extends RestoreResult {
  /** Path and message of each problem. */
  readonly told: readonly string[];
  /** "action path" for each entry, sorted. */
  readonly actions: readonly string[];
}

/** `packsAsFiles`: workers read packs by themselves, as from a local folder. */
export async function restorePlace(t: Cleanup, { packsAsFiles = false } = {}): Promise<RestorePlace> {
  const folder = temporaryFolder(t);
  const source = path.join(folder, "source");
  const target = path.join(folder, "target");
  mkdirSync(source);
  const storage = packsAsFiles ? withFiles(memoryStorage(), path.join(folder, "files")) : memoryStorage();
  const repository = await newRepository(storage);
  return {
    source,
    target,
    storage,
    async save() {
      await saveFolder(repository, source);
    },
    async restore({ patterns, changeView, ...options } = {}) {
      const reader = await openFrameReader(repository);
      const { sealed } = await findSnapshot(repository, "latest");
      const top = await openSnapshotView(reader, sealed.root).lookup(rawPathFromText(source));
      const view = openSnapshotView(reader, top as DirectoryEntry);
      const told: string[] = [];
      const actions: string[] = [];
      const result = await restoreSnapshot({
        repository,
        reader,
        view: changeView?.(view) ?? view,
        target,
        select: patterns && compileSelection(patterns),
        workers: 2,
        onProblem: ({ path: where, error }) => told.push(`${where}: ${messageOf(error)}`),
        onEntry: (where: RawPath, action: string) => actions.push(`${action} ${where}`),
        ...options,
      });
      return { ...result, told, actions: actions.toSorted() };
    },
  };
}

/** Objects as files too, which are as the objects are whenever they are asked for. */
function withFiles(storage: MemoryStorage, folder: string): MemoryStorage {
  return {
    ...storage,
    fileOf(name) {
      const file = path.join(folder, name);
      const object = storage.objects.get(name);
      mkdirSync(path.dirname(file), { recursive: true });
      rmSync(file, { force: true });
      if (object !== undefined) writeFileSync(file, object.bytes);
      return Promise.resolve(file);
    },
  };
}
