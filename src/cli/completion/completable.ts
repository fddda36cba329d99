import type { CommandSpec, Completes, OptionSpecs } from "../command-spec.ts";
import { globalOptions } from "../global-options.ts";

/** What shells have to know of a command. */
export interface CompletableCommand {
  /** Words after `holdfast`: none for the program itself, `["key", "add"]`. */
  readonly words: readonly string[];
  readonly summary: string;
  /** Own options and those of all commands. */
  readonly options: readonly CompletableOption[];
  readonly arguments: readonly CompletableArgument[];
  /** Commands below it. */
  readonly below: readonly { readonly word: string; readonly summary: string }[];
}

export interface CompletableOption {
  /** With their dashes. */
  readonly long: string;
  readonly short: string | undefined;
  readonly summary: string;
  readonly takesValue: boolean;
  /** May be given again. */
  readonly repeatable: boolean;
  readonly completes: Completes | undefined;
}

export interface CompletableArgument {
  readonly repeatable: boolean;
  readonly completes: Completes | undefined;
}

export function describeForCompletion(
  specs: readonly CommandSpec[],
  groups: readonly { readonly name: string; readonly summary: string }[],
): CompletableCommand[] {
  const shared = optionsOf(globalOptions);
  const commands = specs.map((spec): CompletableCommand => ({
    words: spec.name.split(" "),
    summary: spec.summary,
    options: [...optionsOf(spec.options), ...shared, HELP],
    arguments: (spec.arguments ?? []).map(({ name, completes }) => ({ repeatable: name.includes("..."), completes })),
    below: [],
  }));
  const parents = [{ words: [], summary: "" }, ...groups.map(({ name, summary }) => ({ words: [name], summary }))].map(
    ({ words, summary }): CompletableCommand => {
      const inside = [...commands, ...groups.map((group) => ({ words: [group.name], summary: group.summary }))]
        .filter(
          (one) => one.words.length === words.length + 1 && words.every((word, index) => one.words[index] === word),
        )
        .map((one) => ({ word: one.words[words.length], summary: one.summary }));
      const help = words.length === 0 ? [{ word: "help", summary: "print help for a command" }] : [];
      return { words, summary, options: [...shared, HELP], arguments: [], below: [...inside, ...help] };
    },
  );
  return [...parents, ...commands];
}

const HELP: CompletableOption = {
  long: "--help",
  short: "-h",
  summary: "print help",
  takesValue: false,
  repeatable: false,
  completes: undefined,
};

function optionsOf(specs: OptionSpecs): CompletableOption[] {
  return Object.values(specs).map(({ flags, summary, kind, completes }) => ({
    long: /--[a-z0-9-]+/.exec(flags)![0],
    short: /^-[a-zA-Z]\b/.exec(flags)?.[0],
    summary,
    takesValue: kind === "value" || kind === "values",
    repeatable: kind === "values" || kind === "counter",
    completes,
  }));
}
