import { repairPacks } from "../../repository/repair.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { reportObject } from "../report-object.ts";
import type { repairPacksSpec } from "./repair.spec.ts";

export async function run({ context }: Invocation<typeof repairPacksSpec.options>): Promise<number> {
  const { output } = context;
  const repository = await openFromSettings(context);
  const { packs, savedFrames, savedBytes } = await repairPacks(repository, {
    onProblem: (object, message) => reportObject(output, object, message),
    onStep: (step) => output.note(step),
  });
  if (output.json) {
    output.jsonLine({
      message_type: "summary",
      damaged_packs: packs,
      saved_frames: savedFrames,
      saved_bytes: savedBytes,
    });
  }
  if (packs === 0) output.note("no pack is damaged");
  else {
    output.note(`${packs} packs were damaged; ${savedFrames} frames (${formatBytes(savedBytes)}) of them were saved`);
    output.note('what they had besides is lost: "holdfast repair snapshots" tells which files that concerns');
  }
  return 0;
}
