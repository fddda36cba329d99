import { createHash } from "node:crypto";
import { runOkBytes } from "../support/run-command.ts";

/**
 * What a tree holds, told by other programs, a line a name: type, mode, size, time, links, target, content, attributes.
 * Owners are left out, so that a normal user's restore is told the same. The folder `many` is only told as a hash.
 */
export async function describeTree(folder: string): Promise<string> {
  const lines = await Promise.all([
    outputOf(folder, "find . -printf '%P|%y|%m|%T@|%l\\0'"),
    outputOf(folder, "find . -type f -printf '%P|size %s|links %n\\0'"),
    outputOf(folder, "find . -type f -exec sha256sum --zero {} +"),
    outputOf(folder, "find . -mindepth 1 -print0 | sort -z | xargs -0 getfattr -h -d -m '^user' -e hex -- | tr '\\n' '\\0'"),
  ]);
  const all = lines.flat().toSorted();
  const isOfMany = (line: string): boolean => /many\//.test(line);
  const hash = createHash("sha256").update(all.filter(isOfMany).join("\n"), "latin1").digest("hex");
  return [...all.filter((line) => !isOfMany(line)), `many: ${hash}`, ""].join("\n");
}

async function outputOf(folder: string, script: string): Promise<string[]> {
  const output = await runOkBytes("bash", ["-o", "pipefail", "-c", script], { cwd: folder });
  return output
    .toString("latin1")
    .split("\0")
    .filter((line) => line !== "");
}
