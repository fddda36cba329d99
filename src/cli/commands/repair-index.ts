import { repairIndex } from "../../repository/repair.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { reportObject } from "../report-object.ts";
import type { repairIndexSpec } from "./repair.spec.ts";

export async function run({ context }: Invocation<typeof repairIndexSpec.options>): Promise<number> {
  const { output } = context;
  const repository = await openFromSettings(context);
  const { packs, damagedPacks, damagedIndexes } = await repairIndex(repository, {
    onProblem: (object, message) => reportObject(output, object, message),
    onStep: (step) => output.note(step),
  });
  if (output.json) {
    output.jsonLine({ message_type: "summary", packs, damaged_packs: damagedPacks, damaged_indexes: damagedIndexes });
  }
  output.note(`${packs} packs are listed in the new index`);
  if (damagedPacks === 0) return 0;
  output.warning(`Warning: ${damagedPacks} packs are damaged; "holdfast repair packs" saves what is whole in them`);
  return 1;
}
