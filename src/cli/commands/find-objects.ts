/** `find --blob`, `--tree` and `--pack`. */
import { createObjectFinder, type FoundObject } from "../../browse/find-objects.ts";
import { openSnapshotView } from "../../browse/open-snapshot-view.ts";
import { DamagedError, UsageError } from "../../errors.ts";
import type { BlobId } from "../../format/tree.ts";
import { displayPath, type RawPath } from "../../platform/raw-path.ts";
import { openFrameReader, type FrameReader } from "../../repository/frame-reader.ts";
import { SHORT_ID_LENGTH, type Snapshot } from "../../repository/snapshots.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatTime } from "../output/format-time.ts";
import { reportItem } from "../report-item.ts";
import type { findSpec } from "./find.spec.ts";
import { filterOf } from "./snapshot-filter.ts";

export async function runFindObjects({ context, args, options }: Invocation<typeof findSpec.options>): Promise<number> {
  const { output, signal } = context;
  if ([options.blob, options.tree, options.pack].filter(Boolean).length > 1) {
    throw new UsageError("--blob, --tree and --pack exclude each other", { hint: "look for one kind after the other" });
  }
  const prefixes = args.map(idPrefix);
  const begins = (id: Uint8Array): boolean => {
    const text = hex(id);
    return prefixes.some((prefix) => text.startsWith(prefix));
  };
  const repository = await openFromSettings(context);
  const { snapshots, damaged } = await chooseSnapshots(repository, options.snapshot, filterOf(options), output);
  const reader = await openFrameReader(repository);
  const isInPack = (id: BlobId): boolean => {
    const pack = packOf(reader, id);
    return pack !== undefined && begins(pack);
  };
  const finder = createObjectFinder({
    ...(options.blob && { wantsBlob: begins }),
    ...(options.tree && { wantsTree: begins }),
    ...(options.pack && { wantsBlob: isInPack, wantsTree: isInPack }),
  });
  let problems = damaged;
  const onProblem = (path: RawPath, error: unknown): void => {
    problems++;
    reportItem(output, "find", path, error);
  };

  const inJson: object[] = [];
  for (const snapshot of options.reverse ? snapshots : snapshots.toReversed()) {
    const view = openSnapshotView(reader, snapshot.sealed.root);
    for await (const object of finder.find(view, { onProblem, signal })) {
      const pack = options.showPackId ? packOf(reader, object.id) : undefined;
      if (output.json) inJson.push(objectJson(object, snapshot, pack));
      else for (const line of objectLines(object, snapshot, pack)) output.line(line);
    }
  }
  if (output.json) output.jsonLine(inJson);
  return problems > 0 ? 1 : 0;
}

function idPrefix(text: string): string {
  if (/^[0-9a-f]{4,64}$/i.test(text)) return text.toLowerCase();
  throw new UsageError(`"${text}" is not an id`, { hint: "ids are hexadecimal; give four digits at least" });
}

function packOf(reader: FrameReader, id: BlobId): Buffer | undefined {
  try {
    return reader.frame(reader.locate(id).frame).pack.name;
  } catch (error) {
    // No index knows it: then it is in no pack.
    if (error instanceof DamagedError) return undefined;
    throw error;
  }
}

/** As restic prints them. */
function objectLines({ kind, id, path, parentTree }: FoundObject, snapshot: Snapshot, pack?: Buffer): string[] {
  return [
    `Found ${kind} ${hex(id)}`,
    ` ... ${kind === "tree" ? "path" : "in file"} /${displayPath(path)}`,
    ...(parentTree === undefined ? [] : [`     (tree ${hex(parentTree)})`]),
    ...(pack === undefined ? [] : [` ... in pack ${hex(pack)}`]),
    ` ... in snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)} (${formatTime(snapshot.timeMs)})`,
  ];
}

function objectJson({ kind, id, path, parentTree }: FoundObject, snapshot: Snapshot, pack?: Buffer): object {
  return {
    object_type: kind,
    id: hex(id),
    path: `/${displayPath(path)}`,
    ...(parentTree !== undefined && { parent_tree: hex(parentTree) }),
    ...(pack !== undefined && { pack: hex(pack) }),
    snapshot: snapshot.id,
    time: snapshot.record.open.time,
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
