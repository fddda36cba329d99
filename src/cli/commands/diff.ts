import { diffSnapshots, type Change, type DiffStatistics, type DiffTotals } from "../../browse/diff.ts";
import { displayPath } from "../../platform/raw-path.ts";
import { SHORT_ID_LENGTH } from "../../repository/snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import type { Output } from "../output/output.ts";
import { reportItem } from "../report-item.ts";
import { openNamedView, type OpenedView } from "../snapshot-path.ts";
import type { diffSpec } from "./diff.spec.ts";

export async function run({ context, args, options }: Invocation<typeof diffSpec.options>): Promise<number> {
  const { output, signal } = context;
  const repository = await openFromSettings(context);
  const before = await openNamedView(repository, args[0]);
  const after = await openNamedView(repository, args[1], {}, before.reader);
  output.note(`comparing snapshot ${nameOf(before)} to ${nameOf(after)}:`);
  output.note("");
  let problems = 0;
  const statistics = await diffSnapshots(before.view, after.view, {
    metadata: options.metadata,
    onChange: (change) => printChange(output, change),
    onProblem: (path, error) => {
      problems++;
      reportItem(output, "diff", path, error);
    },
    signal,
  });
  printStatistics(output, statistics, before.snapshot.id, after.snapshot.id);
  return problems > 0 ? 1 : 0;
}

function nameOf({ snapshot, below }: OpenedView): string {
  const id = snapshot.id.slice(0, SHORT_ID_LENGTH);
  return below === "" ? id : `${id}:/${displayPath(below)}`;
}

function printChange(output: Output, { kind, path, before, after }: Change): void {
  const isFolder = (after ?? before)?.type === "directory";
  const shown = `/${displayPath(path)}${isFolder ? "/" : ""}`;
  if (output.json) output.jsonLine({ message_type: "change", path: shown, modifier: kind });
  else output.line(`${kind.padEnd(4)} ${shown}`);
}

function printStatistics(output: Output, statistics: DiffStatistics, source: string, target: string): void {
  const { changedFiles, added, removed } = statistics;
  if (output.json) {
    output.jsonLine({
      message_type: "statistics",
      source_snapshot: source,
      target_snapshot: target,
      changed_files: changedFiles,
      added: totalsJson(added),
      removed: totalsJson(removed),
    });
    return;
  }
  const row = (name: string, of: (totals: DiffTotals) => number) =>
    output.note(`${name.padEnd(12)} ${String(of(added)).padStart(6)} new, ${String(of(removed)).padStart(6)} removed`);
  output.note("");
  row("Files:", ({ files }) => files);
  row("Dirs:", ({ directories }) => directories);
  row("Others:", ({ others }) => others);
  row("Data blobs:", ({ dataBlobs }) => dataBlobs);
  row("Tree blobs:", ({ treeBlobs }) => treeBlobs);
  output.note(`${"Changed:".padEnd(12)} ${String(changedFiles).padStart(6)} files`);
  output.note(`${"Added:".padEnd(12)} ${formatBytes(added.dataBytes)}`);
  output.note(`${"Removed:".padEnd(12)} ${formatBytes(removed.dataBytes)}`);
}

function totalsJson({ files, directories, others, dataBlobs, treeBlobs, dataBytes }: DiffTotals): object {
  return { files, dirs: directories, others, data_blobs: dataBlobs, tree_blobs: treeBlobs, bytes: dataBytes };
}
