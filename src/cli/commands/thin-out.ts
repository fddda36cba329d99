import { PREFIXES } from "../../format/names.ts";
import type { Repository } from "../../repository/repository.ts";
import { SHORT_ID_LENGTH } from "../../repository/snapshots.ts";
import { localCalendar } from "../../retention/calendar.ts";
import { applyKeepRules, type KeepRules } from "../../retention/keep-rules.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Context } from "../context.ts";
import { runPrune } from "./run-prune.ts";
import { forRetention } from "./snapshots.ts";

/**
 * Removes what the rules do not keep of the snapshots with the same host and paths as the one that was just made, and
 * frees the space. That one stays in any case. Resolves to the exit code.
 */
export async function thinOut(
  context: Context,
  repository: Repository,
  newest: string,
  rules: KeepRules,
): Promise<number> {
  const { output, signal } = context;
  const { snapshots, damaged } = await chooseSnapshots(repository, [], { hosts: [], tags: [], paths: [] }, output);
  const group = snapshots.find(({ id }) => id === newest)?.record.open.group;
  const alike = snapshots.filter(({ record }) => record.open.group === group);
  const { remove } = applyKeepRules(alike.map(forRetention), rules, Date.now(), localCalendar);
  const old = remove.filter(({ snapshot }) => snapshot.id !== newest);
  for (const { snapshot } of old) {
    signal.throwIfAborted();
    await repository.storage.delete(PREFIXES.snapshot + snapshot.id);
    if (output.verbosity >= 1) output.note(`removed snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)}`);
  }
  const quiet = output.verbosity >= 1 ? context : { ...context, output: { ...output, note: () => undefined } };
  const asUsual = { maxUnused: undefined, maxRepackSize: undefined, thorough: false };
  const exitCode = old.length > 0 ? await runPrune(quiet, repository, asUsual, false) : 0;
  return damaged > 0 ? 1 : exitCode;
}
