import { DamagedError, messageOf, UsageError } from "../../errors.ts";
import { PREFIXES } from "../../format/names.ts";
import type { Repository } from "../../repository/repository.ts";
import { findSnapshot, findSnapshotId, SHORT_ID_LENGTH, type Snapshot } from "../../repository/snapshots.ts";
import { localCalendar } from "../../retention/calendar.ts";
import {
  applyKeepRules,
  describeKeepRules,
  groupSnapshots,
  hasNoRules,
  type KeepPlan,
  type KeepRules,
  type SnapshotGroup,
} from "../../retention/keep-rules.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation, OptionValues } from "../command-spec.ts";
import type { Context } from "../context.ts";
import { openFromSettings } from "../open-repository.ts";
import type { Output } from "../output/output.ts";
import { snapshotJson } from "../snapshot-json.ts";
import { snapshotTable } from "../snapshot-table.ts";
import type { forgetSpec } from "./forget.spec.ts";
import { keepRulesOf } from "./keep-options.ts";
import { runPrune } from "./run-prune.ts";
import { filterOf } from "./snapshot-filter.ts";
import { forRetention, groupKey, groupTitle, type ListedSnapshot } from "./snapshots.ts";

type ForgetOptions = OptionValues<typeof forgetSpec.options>;

export async function run({ context, args, options }: Invocation<typeof forgetSpec.options>): Promise<number> {
  const { output } = context;
  const rules = keepRulesOf(options);
  const named = args.length > 0;
  if (!named) requireRules(rules, options);
  const repository = await openFromSettings(context);
  let damaged = 0;
  let remove: readonly { readonly id: string }[];
  if (named) remove = await findNamed(repository, args, options, output);
  else {
    const chosen = await chooseSnapshots(repository, args, filterOf(options), output);
    damaged = chosen.damaged;
    remove = planByRules(output, chosen.snapshots, rules, options);
  }

  if (!options.dryRun) await removeSnapshots(context, repository, remove);
  else if (remove.length > 0) output.note(`would remove ${countOf(remove)}: ${remove.map(shortId).join(" ")}`);
  const prunes = options.prune && remove.length > 0;
  if (prunes && options.dryRun) {
    output.note("what pruning would free is only known once they are removed");
  }
  const exitCode = prunes && !options.dryRun ? await runPrune(context, repository, options, false) : 0;
  return damaged > 0 ? 1 : exitCode;
}

/** Also those that are damaged: else nobody could ever be rid of them. */
async function findNamed(
  repository: Repository,
  names: readonly string[],
  options: ForgetOptions,
  output: Output,
): Promise<{ readonly id: string }[]> {
  const found = new Map<string, { readonly id: string; readonly timeMs: number }>();
  for (const name of names) {
    try {
      const snapshot = await findSnapshot(repository, name, filterOf(options));
      found.set(snapshot.id, snapshot);
    } catch (error) {
      if (!(error instanceof DamagedError) || name === "latest") throw error;
      const id = await findSnapshotId(repository, name);
      found.set(id, { id, timeMs: 0 });
      output.warning(`Warning: ${messageOf(error)}`, {
        message_type: "error",
        error: { message: messageOf(error) },
        during: "forget",
        item: id,
      });
    }
  }
  return [...found.values()].toSorted((a, b) => a.timeMs - b.timeMs);
}

/** Without rules everything would go. */
function requireRules(rules: KeepRules, { unsafeAllowRemoveAll, host, tag, path }: ForgetOptions): void {
  if (!hasNoRules(rules)) return;
  if (!unsafeAllowRemoveAll) {
    throw new UsageError("no snapshot is named and no rule keeps anything: nothing is removed", {
      hint: 'name snapshots, or give rules such as "--keep-daily 7 --keep-weekly 5"',
    });
  }
  if (host.length + tag.length + path.length === 0) {
    throw new UsageError("--unsafe-allow-remove-all needs --host, --tag or --path");
  }
}

/** Tells for each group what stays and why, and gives what goes. */
function planByRules(
  output: Output,
  snapshots: readonly Snapshot[],
  rules: KeepRules,
  options: ForgetOptions,
): Snapshot[] {
  const groups = groupSnapshots(snapshots.map(forRetention), options.groupBy);
  const plans = groups.map((group) => ({
    group,
    plan: applyKeepRules(group.snapshots, rules, Date.now(), localCalendar),
  }));
  const emptied = plans.find(({ plan }) => plan.keep.length === 0);
  if (emptied !== undefined && !hasNoRules(rules)) {
    throw new UsageError(`refusing to delete all snapshots${groupTitle(emptied.group, options.groupBy)}`, {
      hint: "the rules keep nothing of it; nothing is removed of any group",
    });
  }
  output.note(`Applying policy: ${describeKeepRules(rules)}`);
  if (output.json) output.jsonLine(plans.map(({ group, plan }) => planJson(group, plan)));
  else for (const { group, plan } of plans) printPlan(output, group, plan, options);
  return plans.flatMap(({ plan }) => plan.remove.map(({ snapshot }) => snapshot));
}

function printPlan(
  output: Output,
  group: SnapshotGroup<ListedSnapshot>,
  { keep, remove }: KeepPlan<ListedSnapshot>,
  { groupBy, compact }: ForgetOptions,
): void {
  output.note("");
  output.note(`snapshots${groupTitle(group, groupBy)}:`);
  const reasons = new Map(keep.map((kept) => [kept.snapshot.id, kept.reasons]));
  if (keep.length > 0) {
    output.note(`keep ${keep.length} snapshots:`);
    const table = snapshotTable(keep.map(({ snapshot }) => snapshot.snapshot).toReversed(), { compact, reasons });
    for (const line of table) output.note(line);
  }
  if (remove.length > 0) {
    output.note("");
    output.note(`remove ${remove.length} snapshots:`);
    for (const line of snapshotTable(remove.map(({ snapshot }) => snapshot).toReversed(), { compact }))
      output.note(line);
  }
}

/** As restic's ForgetGroup. */
function planJson(group: SnapshotGroup<ListedSnapshot>, { keep, remove }: KeepPlan<ListedSnapshot>): object {
  const { hostname, ...key } = groupKey(group);
  return {
    ...key,
    host: hostname,
    keep: keep.map(({ snapshot }) => snapshotJson(snapshot.snapshot)),
    remove: remove.map(({ snapshot }) => snapshotJson(snapshot)),
    reasons: keep.map(({ snapshot, reasons }) => ({ snapshot: snapshotJson(snapshot.snapshot), matches: reasons })),
  };
}

async function removeSnapshots(
  { output, signal }: Context,
  repository: Repository,
  remove: readonly { readonly id: string }[],
): Promise<void> {
  for (const { id } of remove) {
    signal.throwIfAborted();
    await repository.storage.delete(PREFIXES.snapshot + id);
    if (output.verbosity >= 1) output.note(`removed snapshot ${id.slice(0, SHORT_ID_LENGTH)}`);
  }
  if (remove.length > 0) output.note(`removed ${countOf(remove)}`);
}

function shortId({ id }: { readonly id: string }): string {
  return id.slice(0, SHORT_ID_LENGTH);
}

function countOf(snapshots: readonly unknown[]): string {
  return `${snapshots.length} ${snapshots.length === 1 ? "snapshot" : "snapshots"}`;
}
