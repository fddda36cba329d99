import { prune, type PruneResult } from "../../repository/prune.ts";
import type { Repository } from "../../repository/repository.ts";
import type { Context } from "../context.ts";
import { formatBytes } from "../output/format-bytes.ts";
import type { Output } from "../output/output.ts";
import type { PruneOptionValues, UnusedLimit } from "./prune-options.ts";

/** Prunes and tells of it. Resolves to the exit code. */
export async function runPrune(
  context: Context,
  repository: Repository,
  { maxUnused, maxRepackSize, thorough }: PruneOptionValues,
  dryRun: boolean,
): Promise<number> {
  const { output, signal } = context;
  const result = await prune(repository, {
    dryRun,
    maxUnusedRatio: maxUnused === undefined ? undefined : await ratioOf(maxUnused, repository),
    maxRepackBytes: maxRepackSize,
    thorough,
    onStep: (step) => output.note(step),
    signal,
  });
  if (output.json) output.jsonLine(resultJson(result, dryRun));
  else printResult(output, result, dryRun);
  for (const [id, frames] of result.damagedSnapshots) {
    const message = `snapshot ${id.slice(0, 8)} is damaged: ${frames} frames that it needs are missing`;
    output.warning(`Warning: ${message}`, { message_type: "error", error: { message }, during: "prune", item: id });
  }
  return result.damagedSnapshots.size > 0 ? 1 : 0;
}

/** The limit as a part of what is used. */
async function ratioOf(limit: UnusedLimit, repository: Repository): Promise<number> {
  if ("part" in limit) return limit.part / (1 - limit.part);
  if (limit.bytes === Infinity || limit.bytes === 0) return limit.bytes;
  const { usedBytes } = await prune(repository, { dryRun: true });
  return limit.bytes / Math.max(usedBytes, 1);
}

function printResult(output: Output, result: PruneResult, dryRun: boolean): void {
  const { totalBytes, packs, usedBytes, unusedBytes, deletedPacks, repackedPacks, freedBytes, copiedBytes } = result;
  output.note("");
  output.note(`stored: ${formatBytes(totalBytes)} in ${packs} packs`);
  output.note(`used:   ${formatBytes(usedBytes)}`);
  output.note(`unused: ${formatBytes(unusedBytes)}`);
  const anew = repackedPacks === 0 ? "" : `; ${repackedPacks} written anew, ${formatBytes(copiedBytes)} of them`;
  const what = `${formatBytes(Math.max(freedBytes, 0))} by deleting ${deletedPacks} packs${anew}`;
  output.note(dryRun ? `would free ${what}` : `freed ${what}`);
  if (result.waitingPacks > 0) {
    output.note(`${result.waitingPacks} packs are only marked, because of ${result.waitingFor.join(", ")};`);
    output.note("a later prune deletes them");
  }
}

function resultJson(result: PruneResult, dryRun: boolean): object {
  return {
    message_type: "summary",
    dry_run: dryRun,
    packs_total: result.packs,
    bytes_total: result.totalBytes,
    bytes_used: result.usedBytes,
    bytes_unused: result.unusedBytes,
    packs_deleted: result.deletedPacks,
    packs_repacked: result.repackedPacks,
    bytes_copied: result.copiedBytes,
    bytes_freed: result.freedBytes,
    packs_waiting: result.waitingPacks,
    waiting_for: result.waitingFor,
    damaged_snapshots: [...result.damagedSnapshots.keys()],
  };
}
