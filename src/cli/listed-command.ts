import type { CommandModule, OptionSpecs } from "./command-spec.ts";
import type { CommandEntry } from "./program.ts";

/** A command in the table of all, of which nothing but its name is loaded. */
export interface ListedCommand {
  readonly name: string;
  readonly entry: () => Promise<CommandEntry>;
}

/** Its options, if it is a command's spec. */
type OptionsOf<Spec> = Spec extends { readonly options: infer Options extends OptionSpecs } ? Options : never;

/** Sees to it that the code takes what the spec, by its name in its module, gives. */
export function command<Name extends string, Specs extends Readonly<Record<Name, CommandEntry["spec"]>>>(
  name: string,
  loadSpecs: () => Promise<Specs>,
  specName: Name,
  load: () => Promise<CommandModule<OptionsOf<Specs[Name]>>>,
): ListedCommand {
  return { name, entry: async () => ({ spec: (await loadSpecs())[specName], load }) };
}

export function loadEntries(commands: readonly ListedCommand[]): Promise<CommandEntry[]> {
  return Promise.all(commands.map((listed) => listed.entry()));
}
