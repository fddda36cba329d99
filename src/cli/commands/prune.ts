import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import type { pruneSpec } from "./prune.spec.ts";
import { runPrune } from "./run-prune.ts";

export async function run({ context, options }: Invocation<typeof pruneSpec.options>): Promise<number> {
  return runPrune(context, await openFromSettings(context), options, options.dryRun);
}
