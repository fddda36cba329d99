import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import type { SnapshotView } from "../browse/snapshot-view.ts";
import { walk } from "../browse/walk.ts";
import { sha256 } from "../crypto/keyed-hash.ts";
import { HoldfastError } from "../errors.ts";
import { type DirectoryEntry, encodeEntry, type FileEntry, type TreeEntry } from "../format/tree.ts";
import type { FileStat } from "../platform/file-stat.ts";
import type { RawPath } from "../platform/raw-path.ts";
import type { BlobReader } from "../repository/blob-reader.ts";
import { FileUnreadableError, type ReportProblem, type Source, type SourceEntry } from "../source/source.ts";

/** A snapshot as a source, to copy it elsewhere, or to save of it what can still be read. */
export interface SnapshotSourceOptions {
  readonly reader: BlobReader;
  readonly top: DirectoryEntry;
  readonly onProblem: ReportProblem;
}

interface SnapshotEntry extends SourceEntry {
  readonly entry: TreeEntry;
}

const BATCH_ENTRIES = 256;

export function openSnapshotSource({ reader, top, onProblem }: SnapshotSourceOptions): Source {
  const view = openSnapshotView(reader, top);

  async function* entries(): AsyncGenerator<SnapshotEntry[]> {
    let batch: SnapshotEntry[] = [];
    const onUnreadable = (path: RawPath, error: unknown): void => onProblem({ path, during: "list", error });
    for await (const { path, entry } of walk(view, { onProblem: onUnreadable })) {
      const depth = path === "" ? 0 : path.split("/").length;
      batch.push({ path, name: entry.name, depth, stat: statOf(entry), entry });
      if (batch.length < BATCH_ENTRIES) continue;
      yield batch;
      batch = [];
    }
    yield batch;
  }

  return {
    entries,
    details(entry) {
      const original = originalOf(entry);
      return { xattrs: original.xattrs, target: original.type === "symlink" ? original.target : undefined };
    },
    content(entry) {
      const original = originalOf(entry);
      if (original.type !== "file") throw new Error("only files have content");
      return { kind: "stream", holes: original.holes, pieces: () => dataOf(view, original) };
    },
    close: async () => undefined,
  };
}

function originalOf(entry: SourceEntry): TreeEntry {
  return (entry as SnapshotEntry).entry;
}

async function* dataOf(view: SnapshotView, file: FileEntry): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of view.pieces(file)) if (piece.kind === "data") yield Uint8Array.from(piece.bytes);
  } catch (error) {
    if (error instanceof HoldfastError) throw new FileUnreadableError(error.message, { cause: error });
    throw error;
  }
}

/**
 * What `stat` would say. Inode and ctime are made from a hash of the entry, names of contents included: so a walk log tells
 * for the next snapshot which entries are the same, just as it does for files on a disc.
 */
function statOf(entry: TreeEntry): FileStat {
  const hash = sha256(encodeEntry({ ...entry, hardLink: undefined }));
  const identity = entry.hardLink === undefined ? hash : Buffer.from(entry.hardLink);
  return {
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    sizeBytes: entry.type === "file" ? entry.sizeBytes : 0,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    ctimeSeconds: hash.readUIntLE(0, 3),
    ctimeNanoseconds: hash.readUInt32LE(3) % 1_000_000_000,
    inodeHigh: identity.readUInt32LE(8),
    inodeLow: identity.readUInt32LE(12),
    links: entry.hardLink === undefined ? 1 : Number.MAX_SAFE_INTEGER,
    allocatedBytes: entry.type === "file" ? entry.sizeBytes : 0,
    deviceMajor: 0,
    deviceMinor: 0,
    rdevMajor: "major" in entry ? entry.major : 0,
    rdevMinor: "minor" in entry ? entry.minor : 0,
    inodeFlags: entry.inodeFlags,
  };
}
