/** Every command that there is. */
import type { CommandModule, CommandSpec, OptionSpecs } from "../command-spec.ts";
import type { CommandEntry, CommandGroup } from "../program.ts";
import { completionSpec } from "./completion.spec.ts";
import { versionSpec } from "./version.spec.ts";

export const commandGroups: readonly CommandGroup[] = [];

export const commandEntries: readonly CommandEntry[] = [
  command(completionSpec, () => import("./completion.ts")),
  command(versionSpec, () => import("./version.ts")),
];

/** Sees to it that the code takes what the spec gives. */
function command<Options extends OptionSpecs>(
  spec: CommandSpec<Options>,
  load: () => Promise<CommandModule<Options>>,
): CommandEntry {
  return { spec, load: load as CommandEntry["load"] };
}
