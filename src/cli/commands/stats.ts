import { walk } from "../../browse/walk.ts";
import { openSnapshotView } from "../../browse/open-snapshot-view.ts";
import { sha256 } from "../../crypto/keyed-hash.ts";
import type { FileEntry } from "../../format/tree.ts";
import { openFrameReader } from "../../repository/frame-reader.ts";
import { loadIndex } from "../../repository/index-loader.ts";
import { findLiveFrames } from "../../repository/live-frames.ts";
import type { Repository } from "../../repository/repository.ts";
import type { Snapshot } from "../../repository/snapshots.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { filterOf } from "./snapshot-filter.ts";
import type { statsSpec } from "./stats.spec.ts";

interface Totals {
  readonly sizeBytes: number;
  readonly files?: number;
  readonly packs?: number;
}

export async function run({ context, args, options }: Invocation<typeof statsSpec.options>): Promise<number> {
  const { output, signal } = context;
  const repository = await openFromSettings(context);
  const { snapshots, damaged } = await chooseSnapshots(repository, args, filterOf(options), output);
  const count = { "restore-size": restoreSize, "files-by-contents": filesByContents, "raw-data": rawData }[
    options.mode
  ];
  const { sizeBytes, files, packs } = await count(snapshots, repository, signal);
  if (output.json) {
    output.jsonLine({
      total_size: sizeBytes,
      ...(files !== undefined && { total_file_count: files }),
      ...(packs !== undefined && { total_pack_count: packs }),
      snapshots_count: snapshots.length,
    });
  } else {
    const row = (name: string, value: string | number) => output.line(`${name.padStart(24)}:  ${value}`);
    output.note(`Stats in ${options.mode} mode:`);
    row("Snapshots processed", snapshots.length);
    if (files !== undefined) row("Total File Count", files);
    if (packs !== undefined) row("Packs", packs);
    row("Total Size", formatBytes(sizeBytes));
  }
  return damaged > 0 ? 1 : 0;
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
  const reader = await openFrameReader(repository);
  const trees = new Set<string>();
  const contents = new Set<string>();
  let sizeBytes = 0;
  for (const { sealed } of snapshots) {
    const enter = (_path: string, { tree }: { readonly tree: Uint8Array }) => isNew(trees, tree);
    for await (const { entry } of walk(openSnapshotView(reader, sealed.root), { enter, signal })) {
      if (entry.type === "file" && isNew(contents, contentKey(entry))) sizeBytes += entry.sizeBytes;
    }
  }
  return { sizeBytes, files: contents.size };
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

/** What the packs take that hold what these snapshots need, less what nobody needs in them. */
async function rawData(snapshots: readonly Snapshot[], repository: Repository): Promise<Totals> {
  const { frames } = await loadIndex(repository, { forWriting: false, framesOnly: true });
  const { live } = findLiveFrames(frames, snapshots);
  const packs = new Set<number>();
  let sizeBytes = 0;
  live.forEach((isLive, frame) => {
    if (isLive === 0) return;
    sizeBytes += frames.locate(frame).length;
    packs.add(frames.packIndexOf(frame));
  });
  return { sizeBytes, packs: packs.size };
}
