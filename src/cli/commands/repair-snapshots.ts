import { repairSnapshots } from "../../backup/repair-snapshots.ts";
import { PREFIXES } from "../../format/names.ts";
import { SHORT_ID_LENGTH } from "../../repository/snapshots.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { hostSigningKey } from "../host-identity.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatTime } from "../output/format-time.ts";
import type { repairSnapshotsSpec } from "./repair.spec.ts";
import { filterOf } from "./snapshot-filter.ts";

export async function run({ context, args, options }: Invocation<typeof repairSnapshotsSpec.options>): Promise<number> {
  const { output, signal } = context;
  const { dryRun, forget } = options;
  const repository = await openFromSettings(context);
  const { snapshots, damaged } = await chooseSnapshots(repository, args, filterOf(options), output);
  let repaired = 0;
  const repairs = repairSnapshots({ repository, snapshots, signingKey: hostSigningKey(), dryRun, signal });
  for await (const { snapshot, lost, newId } of repairs) {
    signal.throwIfAborted();
    const shortId = snapshot.id.slice(0, SHORT_ID_LENGTH);
    if (lost.length === 0) {
      output.note(`snapshot ${shortId} of ${formatTime(snapshot.timeMs)} is sound`);
      continue;
    }
    repaired++;
    output.note(`snapshot ${shortId} of ${formatTime(snapshot.timeMs)} is damaged; lost:`);
    for (const one of lost) output.note(`  ${one}`);
    const forgets = forget && newId !== undefined;
    if (forgets) await repository.storage.delete(PREFIXES.snapshot + snapshot.id);
    if (newId !== undefined) {
      output.note(`what is left of it was saved as snapshot ${newId.slice(0, SHORT_ID_LENGTH)}`);
      if (forgets) output.note(`removed snapshot ${shortId}`);
    }
    if (output.json) {
      output.jsonLine({
        message_type: "changed",
        old_snapshot_id: snapshot.id,
        ...(newId !== undefined && { new_snapshot_id: newId }),
        lost,
      });
    }
  }
  if (output.json) output.jsonLine({ message_type: "summary", changed_snapshot_count: repaired });
  if (repaired === 0) output.note("no snapshot had to be repaired");
  return damaged > 0 || (dryRun && repaired > 0) ? 1 : 0;
}
