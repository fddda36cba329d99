/**
 * A drill: restores a few files of a snapshot to scratch, reads them back from there, and compares with the ids that the
 * snapshot recorded. What it proves is the whole way: storage, keys, index, trees, content and a disc to restore to.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { createBlobPlacer } from "../browse/file-layout.ts";
import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import type { SnapshotView } from "../browse/snapshot-view.ts";
import { derivedKeys } from "../crypto/key-ring.ts";
import { createKeyedHash, type KeyedHash } from "../crypto/keyed-hash.ts";
import { messageOf } from "../errors.ts";
import type { DirectoryEntry, FileEntry, TreeEntry } from "../format/tree.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { displayPath, joinRaw, type RawPath } from "../platform/raw-path.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import type { Repository } from "../repository/repository.ts";
import { openSnapshot, readSnapshot } from "../repository/snapshots.ts";

export interface DrillOptions {
  readonly repository: Repository;
  readonly snapshotId: string;
  /** A folder in which files may be made. */
  readonly scratchFolder: string;
  /** How many files are tried at most. */
  readonly files: number;
  /** Files beyond this in all are left out, but for the first. */
  readonly maximumBytes: number;
  /** From 0 to below 1. */
  readonly random: () => number;
  readonly signal?: AbortSignal | undefined;
}

export interface DrillResult {
  readonly snapshot: string;
  readonly files: number;
  readonly bytes: number;
  /** What did not come back as it was; empty for a drill that proves the snapshot. */
  readonly problems: readonly string[];
}

export async function drill(options: DrillOptions): Promise<DrillResult> {
  const { repository, snapshotId, random, signal } = options;
  const snapshot = openSnapshot(repository, await readSnapshot(repository, snapshotId));
  const view = openSnapshotView(await openFrameReader(repository), snapshot.sealed.root);
  const hash = createKeyedHash(derivedKeys(repository.ring).data);
  makeFolder(options.scratchFolder);
  const folder = mkdtempSync(path.join(options.scratchFolder, "drill-"));
  const problems: string[] = [];
  const tried = new Set<string>();
  let bytes = 0;
  try {
    for (let attempt = 0; attempt < options.files; attempt++) {
      signal?.throwIfAborted();
      try {
        const picked = await pickFile(view, random);
        if (picked === undefined || tried.has(picked.path)) continue;
        if (tried.size > 0 && bytes + picked.file.sizeBytes > options.maximumBytes) continue;
        tried.add(picked.path);
        bytes += picked.file.sizeBytes;
        await proveFile(view, picked, path.join(folder, "file"), hash);
      } catch (error) {
        problems.push(messageOf(error));
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { snapshot: snapshotId, files: tried.size, bytes, problems };
}

interface PickedFile {
  readonly path: RawPath;
  readonly file: FileEntry;
}

/** Goes down from the top, at each folder to one of its entries, until it comes to a file; undefined where it does not. */
async function pickFile(view: SnapshotView, random: () => number): Promise<PickedFile | undefined> {
  let folder: DirectoryEntry = view.top;
  let at = "" as RawPath;
  for (;;) {
    const entry = await pickEntry(view, folder, random);
    if (entry === undefined) return undefined;
    at = joinRaw(at, entry.name);
    if (entry.type === "file") return { path: at, file: entry };
    if (entry.type !== "directory") return undefined;
    folder = entry;
  }
}

/** One entry of a folder, each as likely as the others, without holding them all (reservoir sampling). */
async function pickEntry(
  view: SnapshotView,
  folder: DirectoryEntry,
  random: () => number,
): Promise<TreeEntry | undefined> {
  let picked: TreeEntry | undefined;
  let seen = 0;
  for await (const entry of view.list(folder)) {
    seen++;
    if (random() * seen < 1) picked = entry;
  }
  return picked;
}

/** Throws where the file does not come back from `target` as it was saved. */
async function proveFile(view: SnapshotView, { path: name, file }: PickedFile, target: string, hash: KeyedHash) {
  const handle = await open(target, "w+", 0o600);
  try {
    for await (const piece of view.pieces(file)) {
      if (piece.kind === "data") await handle.write(piece.bytes, 0, piece.bytes.length, piece.offset);
    }
    await handle.truncate(file.sizeBytes);
    await handle.datasync();
    const placer = createBlobPlacer(file);
    for await (const blobs of view.content(file)) {
      for (const { id, lengthBytes } of blobs) {
        const content = Buffer.alloc(lengthBytes);
        for (const { fileOffset, blobOffset, lengthBytes: length } of placer.place(lengthBytes)) {
          await readExactly(handle, content, blobOffset, length, fileOffset);
        }
        if (hash.hash(content).equals(id)) continue;
        throw new Error(`/${displayPath(name)} came back with other content than was saved`);
      }
    }
  } finally {
    await handle.close();
  }
}

async function readExactly(handle: FileHandle, target: Buffer, at: number, length: number, offset: number) {
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle.read(target, at + done, length - done, offset + done);
    if (bytesRead === 0) throw new Error("a restored file is shorter than it was");
    done += bytesRead;
  }
}
