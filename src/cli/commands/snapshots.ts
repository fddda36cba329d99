import { displayPath } from "../../platform/raw-path.ts";
import type { Snapshot } from "../../repository/snapshots.ts";
import { groupSnapshots, type GroupBy, type SnapshotGroup } from "../../retention/keep-rules.ts";
import type { RetentionSnapshot } from "../../retention/snapshot.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { printableLine } from "../output/printable.ts";
import { openFromSettings } from "../open-repository.ts";
import { snapshotJson } from "../snapshot-json.ts";
import { snapshotTable } from "../snapshot-table.ts";
import { filterOf } from "./snapshot-filter.ts";
import type { snapshotsSpec } from "./snapshots.spec.ts";

export async function run({ context, args, options }: Invocation<typeof snapshotsSpec.options>): Promise<number> {
  const { output } = context;
  const repository = await openFromSettings(context);
  const chosen = await chooseSnapshots(repository, args, filterOf(options), output);
  const shown = options.latest === undefined ? chosen.snapshots : lastOfEach(chosen.snapshots, options.latest);
  const { compact } = options;
  if (options.groupBy === undefined) {
    if (output.json) output.jsonLine(shown.map(snapshotJson));
    else for (const line of snapshotTable(shown, { compact })) output.line(line);
  } else {
    const groups = groupSnapshots(shown.map(forRetention), options.groupBy);
    if (output.json) {
      output.jsonLine(groups.map((group) => ({ group_key: groupKey(group), snapshots: group.snapshots.map(jsonOf) })));
    } else {
      for (const group of groups) {
        output.line(`snapshots${groupTitle(group, options.groupBy)}:`);
        for (const line of snapshotTable(
          group.snapshots.map(({ snapshot }) => snapshot),
          { compact },
        ))
          output.line(line);
        output.line("");
      }
    }
  }
  return chosen.damaged > 0 ? 1 : 0;
}

export interface ListedSnapshot extends RetentionSnapshot {
  readonly snapshot: Snapshot;
}

export function forRetention(snapshot: Snapshot): ListedSnapshot {
  const { id, timeMs, record, sealed } = snapshot;
  const { host, group } = record.open;
  return { id, timeMs, host, group, paths: sealed.paths, tags: sealed.tags, snapshot };
}

function jsonOf({ snapshot }: ListedSnapshot): object {
  return snapshotJson(snapshot);
}

/** ` for (host [web1], paths [/etc, /home])`, as restic has it. */
export function groupTitle({ host, paths, tags }: SnapshotGroup<ListedSnapshot>, by: GroupBy): string {
  const parts = [
    ...(by.host ? [`host [${printableLine(host)}]`] : []),
    ...(by.tags ? [`tags [${printableLine(tags.join(", "))}]`] : []),
    ...(by.paths ? [`paths [${(paths as Snapshot["sealed"]["paths"]).map(displayPath).join(", ")}]`] : []),
  ];
  return parts.length === 0 ? "" : ` for (${parts.join(", ")})`;
}

export function groupKey({ host, paths, tags }: SnapshotGroup<ListedSnapshot>): {
  hostname: string;
  paths: string[];
  tags: readonly string[];
} {
  return { hostname: host, paths: (paths as Snapshot["sealed"]["paths"]).map(displayPath), tags };
}

/** The last n of each host and paths, oldest first. */
function lastOfEach(snapshots: readonly Snapshot[], count: number): Snapshot[] {
  if (count === 0) return [];
  const groups = Map.groupBy(snapshots, ({ record }) => `${record.open.host}\0${record.open.group}`);
  const last = new Set([...groups.values()].flatMap((members) => members.slice(-count)));
  return snapshots.filter((snapshot) => last.has(snapshot));
}
