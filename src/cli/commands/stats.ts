import { walk } from "../../browse/walk.ts";
import { openSnapshotView } from "../../browse/open-snapshot-view.ts";
import type { SnapshotView } from "../../browse/snapshot-view.ts";
import { sha256 } from "../../crypto/keyed-hash.ts";
import type { DirectoryEntry, FileEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { openFrameReader } from "../../repository/frame-reader.ts";
import { loadIndex } from "../../repository/index-loader.ts";
import { findLiveFrames } from "../../repository/live-frames.ts";
import { readRawSizes } from "../../repository/raw-sizes.ts";
import type { Repository } from "../../repository/repository.ts";
import type { Snapshot } from "../../repository/snapshots.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import type { Output } from "../output/output.ts";
import { filterOf } from "./snapshot-filter.ts";
import type { statsSpec } from "./stats.spec.ts";

interface Totals {
  readonly sizeBytes: number;
  readonly files?: number;
  readonly blobs?: number;
  readonly packs?: number;
  readonly uncompressedBytes?: number;
}

export async function run({ context, args, options }: Invocation<typeof statsSpec.options>): Promise<number> {
  const { output, signal } = context;
  const repository = await openFromSettings(context);
  const { snapshots, damaged } = await chooseSnapshots(repository, args, filterOf(options), output);
  const count = {
    "restore-size": restoreSize,
    "files-by-contents": filesByContents,
    "blobs-per-file": blobsPerFile,
    "raw-data": rawData,
  }[options.mode];
  const totals = await count(snapshots, repository, signal);
  if (output.json) output.jsonLine(totalsJson(totals, snapshots.length));
  else printTotals(output, options.mode, totals, snapshots.length);
  return damaged > 0 ? 1 : 0;
}

function printTotals(output: Output, mode: string, totals: Totals, snapshots: number): void {
  const { sizeBytes, files, blobs, packs, uncompressedBytes } = totals;
  const row = (name: string, value: string | number) => output.line(`${name.padStart(26)}:  ${value}`);
  output.note(`Stats in ${mode} mode:`);
  row("Snapshots processed", snapshots);
  if (files !== undefined) row("Total File Count", files);
  if (blobs !== undefined) row("Total Blob Count", blobs);
  if (packs !== undefined) row("Packs", packs);
  if (uncompressedBytes !== undefined) row("Total Uncompressed Size", formatBytes(uncompressedBytes));
  if (uncompressedBytes !== undefined && sizeBytes > 0) {
    row("Compression Ratio", `${(uncompressedBytes / sizeBytes).toFixed(2)}x`);
    row("Compression Space Saving", `${savingPercent(sizeBytes, uncompressedBytes).toFixed(2)}%`);
  }
  row("Total Size", formatBytes(sizeBytes));
}

/** With restic's names; `total_pack_count` is our own. */
function totalsJson({ sizeBytes, files, blobs, packs, uncompressedBytes }: Totals, snapshots: number): object {
  return {
    total_size: sizeBytes,
    ...(uncompressedBytes !== undefined && { total_uncompressed_size: uncompressedBytes }),
    ...(uncompressedBytes !== undefined &&
      sizeBytes > 0 && {
        compression_ratio: uncompressedBytes / sizeBytes,
        // All that is stored has gone through the compressor.
        compression_progress: 100,
        compression_space_saving: savingPercent(sizeBytes, uncompressedBytes),
      }),
    ...(files !== undefined && { total_file_count: files }),
    ...(blobs !== undefined && { total_blob_count: blobs }),
    ...(packs !== undefined && { total_pack_count: packs }),
    snapshots_count: snapshots,
  };
}

function savingPercent(sizeBytes: number, uncompressedBytes: number): number {
  return (1 - sizeBytes / Math.max(uncompressedBytes, 1)) * 100;
}

/** As the records tell it: nothing has to be walked. */
async function restoreSize(snapshots: readonly Snapshot[]): Promise<Totals> {
  const sum = (of: (snapshot: Snapshot) => number) => snapshots.reduce((total, snapshot) => total + of(snapshot), 0);
  return { sizeBytes: sum(({ record }) => record.open.sizeBytes), files: sum(({ record }) => record.open.files) };
}

/** Files with the same content count once, wherever they are. Folders that stand in several snapshots are read once. */
async function filesByContents(
  snapshots: readonly Snapshot[],
  repository: Repository,
  signal: AbortSignal,
): Promise<Totals> {
  const contents = new Set<string>();
  let sizeBytes = 0;
  for await (const { file } of filesIn(snapshots, repository, (_path, tree) => tree, signal)) {
    if (isNew(contents, contentKey(file))) sizeBytes += file.sizeBytes;
  }
  return { sizeBytes, files: contents.size };
}

interface FoundFile {
  readonly path: RawPath;
  readonly file: FileEntry;
  readonly view: SnapshotView;
}

/** The files of all snapshots; folders with the same key are entered once in all. */
async function* filesIn(
  snapshots: readonly Snapshot[],
  repository: Repository,
  keyOfFolder: (path: RawPath, tree: Uint8Array) => Uint8Array,
  signal: AbortSignal,
): AsyncGenerator<FoundFile> {
  const reader = await openFrameReader(repository);
  const entered = new Set<string>();
  for (const { sealed } of snapshots) {
    const view = openSnapshotView(reader, sealed.root);
    const enter = (path: RawPath, { tree }: DirectoryEntry) => isNew(entered, keyOfFolder(path, tree));
    for await (const { path, entry } of walk(view, { enter, signal })) {
      if (entry.type === "file") yield { path, file: entry, view };
    }
  }
}

function isNew(seen: Set<string>, key: Uint8Array): boolean {
  const before = seen.size;
  // Half an id is enough to tell them apart, and half the memory.
  seen.add(Buffer.from(key.buffer, key.byteOffset, Math.min(key.length, 16)).latin1Slice());
  return seen.size > before;
}

/** Equal for files with the same content. */
function contentKey({ sizeBytes, content, holes }: FileEntry): Uint8Array {
  const layout = Buffer.from(JSON.stringify([sizeBytes, holes]));
  return sha256(layout, ...content.map(({ id }) => id));
}

/** Each piece counts once for each path at which a file has it, in however many snapshots. */
async function blobsPerFile(
  snapshots: readonly Snapshot[],
  repository: Repository,
  signal: AbortSignal,
): Promise<Totals> {
  const files = new Set<string>();
  const pieces = new Set<string>();
  let sizeBytes = 0;
  for await (const { path, file, view } of filesIn(snapshots, repository, keyAt, signal)) {
    isNew(files, keyAt(path));
    for await (const blobs of view.content(file)) {
      for (const { id, lengthBytes } of blobs) {
        if (isNew(pieces, keyAt(path, id))) sizeBytes += lengthBytes;
      }
    }
  }
  return { sizeBytes, files: files.size, blobs: pieces.size };
}

function keyAt(path: string, ...ids: readonly Uint8Array[]): Uint8Array {
  return sha256(Buffer.from(`${path}\0`, "latin1"), ...ids);
}

/** What the frames take that hold what these snapshots need, and what is in them. */
async function rawData(snapshots: readonly Snapshot[], repository: Repository): Promise<Totals> {
  const loaded = await loadIndex(repository, { forWriting: false, framesOnly: true });
  const { frames } = loaded;
  const { live } = findLiveFrames(frames, snapshots);
  const raw = await readRawSizes(repository, loaded);
  const packs = new Set<number>();
  let sizeBytes = 0;
  let uncompressedBytes = 0;
  let blobs = 0;
  live.forEach((isLive, frame) => {
    if (isLive === 0) return;
    sizeBytes += frames.locate(frame).length;
    uncompressedBytes += raw.bytes[frame];
    blobs += raw.blobs[frame];
    packs.add(frames.packIndexOf(frame));
  });
  return { sizeBytes, uncompressedBytes, blobs, packs: packs.size };
}
