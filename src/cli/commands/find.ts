import { createFinder } from "../../browse/find.ts";
import { openSnapshotView } from "../../browse/open-snapshot-view.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { openFrameReader } from "../../repository/frame-reader.ts";
import { SHORT_ID_LENGTH } from "../../repository/snapshots.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { entryJson, longLine, shortLine } from "../entry-line.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatTime } from "../output/format-time.ts";
import { reportItem } from "../report-item.ts";
import { runFindObjects } from "./find-objects.ts";
import type { findSpec } from "./find.spec.ts";
import { filterOf } from "./snapshot-filter.ts";

export async function run({ context, args, options }: Invocation<typeof findSpec.options>): Promise<number> {
  const { output, signal } = context;
  if (options.blob || options.tree || options.pack) return runFindObjects({ context, args, options });
  const finder = createFinder({
    patterns: args,
    ignoreCase: options.ignoreCase,
    ...(options.oldest !== undefined && { oldestMs: options.oldest }),
    ...(options.newest !== undefined && { newestMs: options.newest }),
  });
  const repository = await openFromSettings(context);
  const { snapshots, damaged } = await chooseSnapshots(repository, options.snapshot, filterOf(options), output);
  const reader = await openFrameReader(repository);
  let problems = damaged;

  function reportProblem(path: RawPath, error: unknown): void {
    problems++;
    reportItem(output, "find", path, error);
  }

  const inJson: object[] = [];
  // The newest first, as in restic: what is looked for was mostly there lately.
  for (const snapshot of options.reverse ? snapshots : snapshots.toReversed()) {
    const view = openSnapshotView(reader, snapshot.sealed.root);
    const matches: object[] = [];
    let isFirst = true;
    for await (const { path, entry } of finder.find(view, { onProblem: reportProblem, signal })) {
      if (output.json) {
        matches.push(entryJson(path, entry));
        continue;
      }
      if (isFirst) {
        output.note(
          `Found matching entries in snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)} from ${formatTime(snapshot.timeMs)}`,
        );
        isFirst = false;
      }
      output.line(options.long ? longLine(path, entry, options.humanReadable) : shortLine(path));
    }
    if (!isFirst) output.note("");
    if (matches.length > 0) inJson.push({ matches, hits: matches.length, snapshot: snapshot.id });
  }
  if (output.json) output.jsonLine(inJson);
  return problems > 0 ? 1 : 0;
}
