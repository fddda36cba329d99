import { resolve } from "node:path";
import { rawPathFromText } from "../../platform/raw-path.ts";
import type { SnapshotFilter } from "../../repository/snapshots.ts";
import { list, valueList, type OptionValues } from "../command-spec.ts";

/** Which snapshots a command is about, where they are not named one by one. */
export const snapshotFilterOptions = {
  host: list("-H, --host <host>", "only snapshots of this host (can be given several times)"),
  tag: valueList(
    "--tag <tags>",
    "only snapshots with all of these tags, separated by commas (several times: any)",
    (tags) =>
      tags
        .split(",")
        .map((tag) => tag.trim())
        .join(","),
  ),
  path: list("--path <path>", "only snapshots of this path (several times: of all of them)", { completes: "folder" }),
};

export function filterOf({ host, tag, path }: OptionValues<typeof snapshotFilterOptions>): SnapshotFilter {
  return { hosts: host, tags: tag, paths: path.map((one) => rawPathFromText(resolve(one))) };
}
