import type { CommandModule, CommandSpec, OptionSpecs } from "./command-spec.ts";
import type { CommandEntry } from "./program.ts";

/** Sees to it that the code takes what the spec gives. */
export function command<Options extends OptionSpecs>(
  spec: CommandSpec<Options>,
  load: () => Promise<CommandModule<Options>>,
): CommandEntry {
  return { spec, load };
}
