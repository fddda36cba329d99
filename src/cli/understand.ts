import { UsageError } from "../errors.ts";
import { loadEntries, type ListedCommand } from "./listed-command.ts";
import { parseArguments, type ParsedCommand, type ProgramOptions } from "./program.ts";

export interface UnderstandOptions extends Omit<ProgramOptions, "commands"> {
  readonly commands: readonly ListedCommand[];
}

/** As `parseArguments`, but loads and makes ready only those commands that can be meant, of some sixty. */
export async function understand(argv: readonly string[], options: UnderstandOptions): Promise<ParsedCommand | number> {
  const named = namedIn(argv, options.commands);
  try {
    if (named.length > 0) return parseArguments(argv, { ...options, commands: await loadEntries(named) });
  } catch (error) {
    // With all commands at hand, more can be said of what is wrong.
    if (!(error instanceof UsageError)) throw error;
  }
  return parseArguments(argv, { ...options, commands: await loadEntries(options.commands) });
}

/** None where help is asked for. */
function namedIn(argv: readonly string[], commands: readonly ListedCommand[]): readonly ListedCommand[] {
  const words = new Set(argv);
  if (["help", "--help", "-h"].some((word) => words.has(word))) return [];
  return commands.filter(({ name }) => words.has(name.split(" ", 1)[0]));
}
