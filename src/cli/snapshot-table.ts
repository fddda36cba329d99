import { displayPath } from "../platform/raw-path.ts";
import { SHORT_ID_LENGTH, type Snapshot } from "../repository/snapshots.ts";
import { formatBytes } from "./output/format-bytes.ts";
import { formatTime } from "./output/format-time.ts";
import { formatTable, type Column } from "./output/table.ts";

export interface SnapshotTableOptions {
  readonly compact: boolean;
  /** Why each stays, for `forget`. */
  readonly reasons?: ReadonlyMap<string, readonly string[]>;
}

export function snapshotTable(snapshots: readonly Snapshot[], { compact, reasons }: SnapshotTableOptions): string[] {
  const columns: Column<Snapshot>[] = [
    { title: "ID", cell: ({ id }) => id.slice(0, SHORT_ID_LENGTH) },
    { title: "Time", cell: ({ timeMs }) => formatTime(timeMs) },
    { title: "Host", cell: ({ record }) => record.open.host },
  ];
  if (!compact) columns.push({ title: "Tags", cell: ({ sealed }) => sealed.tags });
  if (reasons !== undefined) columns.push({ title: "Reasons", cell: ({ id }) => reasons.get(id) ?? [] });
  if (!compact) {
    columns.push(
      { title: "Paths", cell: ({ sealed }) => sealed.paths.map(displayPath) },
      { title: "Size", cell: ({ record }) => sizeOf(record.open), align: "right" },
    );
  }
  return formatTable(columns, snapshots, `${snapshots.length} snapshots`);
}

function sizeOf({ sizeBytes, complete }: Snapshot["record"]["open"]): string {
  return `${formatBytes(sizeBytes)}${complete ? "" : " (incomplete)"}`;
}
