import { walk } from "../../browse/walk.ts";
import { UsageError } from "../../errors.ts";
import type { TreeEntry } from "../../format/tree.ts";
import { displayPath, joinRaw, type RawPath } from "../../platform/raw-path.ts";
import { SHORT_ID_LENGTH } from "../../repository/snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { entryJson, longLine, shortLine } from "../entry-line.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatTime } from "../output/format-time.ts";
import { rawArgument } from "../raw-argument.ts";
import { snapshotJson } from "../snapshot-json.ts";
import { openNamedView, withoutSlashes } from "../snapshot-path.ts";
import { filterOf } from "./snapshot-filter.ts";
import type { lsSpec } from "./ls.spec.ts";

export async function run({ context, args, options }: Invocation<typeof lsSpec.options>): Promise<number> {
  const { output, signal } = context;
  const [name, ...folderArguments] = args;
  const folders = folderArguments.map(fullPath);
  const repository = await openFromSettings(context);
  const { snapshot, view, below } = await openNamedView(repository, name, filterOf(options));
  if (output.json) {
    output.jsonLine({ ...snapshotJson(snapshot), message_type: "snapshot", struct_type: "snapshot" });
  } else {
    const paths = snapshot.sealed.paths.map(displayPath).join(", ");
    output.note(`snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)} of [${paths}] at ${formatTime(snapshot.timeMs)}:`);
  }

  function print(path: RawPath, entry: TreeEntry): void {
    const full = joinRaw(below, path);
    if (output.json) output.jsonLine({ ...entryJson(full, entry), message_type: "node", struct_type: "node" });
    else output.line(options.long ? longLine(full, entry, options.humanReadable) : shortLine(full));
  }

  const enter = (path: RawPath): boolean => folders.length === 0 || leadsTo(path, folders, options.recursive);
  const found = new Set<RawPath>();
  for await (const { path, entry } of walk(view, { enter, signal })) {
    if (folders.includes(path)) found.add(path);
    if (path !== "" && isListed(path, folders, options.recursive)) print(path, entry);
  }
  const missing = folders.filter((folder) => !found.has(folder));
  if (missing.length === 0) return 0;
  throw new UsageError(`there is no ${missing.map((folder) => `/${displayPath(folder)}`).join(", ")} in this snapshot`);
}

function fullPath(argument: string): RawPath {
  if (!argument.startsWith("/")) {
    throw new UsageError(`"${argument}" is not a full path`, { hint: "folders in a snapshot begin with /" });
  }
  return withoutSlashes(rawArgument(argument));
}

/** A folder named, what is directly in it, or with `recursive` all below it. */
function isListed(path: RawPath, folders: readonly RawPath[], recursive: boolean): boolean {
  if (folders.length === 0) return true;
  return folders.some((folder) => {
    if (path === folder) return true;
    if (!isBelow(path, folder)) return false;
    return recursive || !path.slice(folder === "" ? 0 : folder.length + 1).includes("/");
  });
}

/** Whether a folder has to be looked into: on the way to one that is named, or (with `recursive`) below it. */
function leadsTo(path: RawPath, folders: readonly RawPath[], recursive: boolean): boolean {
  return folders.some((folder) => path === folder || isBelow(folder, path) || (recursive && isBelow(path, folder)));
}

function isBelow(path: RawPath, folder: RawPath): boolean {
  return folder === "" ? path !== "" : path.startsWith(`${folder}/`);
}
