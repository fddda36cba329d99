/** Builds the command line from the table of commands. */
import { Command, CommanderError, Option } from "commander";
import { HoldfastError, messageOf, UsageError } from "../errors.ts";
import {
  optionName,
  type CommandModule,
  type CommandSpec,
  type OptionSpecs,
  type OptionValues,
} from "./command-spec.ts";
import { globalOptions } from "./global-options.ts";
import { insteadOf } from "./restic-words.ts";

/** A command, and where its code is when it is wanted. */
export interface CommandEntry {
  readonly spec: CommandSpec;
  readonly load: () => Promise<CommandModule<never>>;
}

/** Commands with others below them: `key`, `repair`. */
export interface CommandGroup {
  readonly name: string;
  readonly summary: string;
}

/** What was typed, understood. */
export interface ParsedCommand {
  readonly entry: CommandEntry;
  readonly settings: OptionValues<typeof globalOptions>;
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

export interface ProgramOptions {
  readonly commands: readonly CommandEntry[];
  readonly groups: readonly CommandGroup[];
  readonly version: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Where help goes. */
  readonly print: (text: string) => void;
}

/**
 * Understands the arguments after the program's name. An exit code where help or the version was printed, and there is
 * nothing else to do. Throws `UsageError`.
 */
export function parseArguments(argv: readonly string[], options: ProgramOptions): ParsedCommand | number {
  let parsed: ParsedCommand | number = 0;
  const program = buildProgram(options, (entry, args, command) => {
    const settings = readOptions(globalOptions, program, options.environment) as OptionValues<typeof globalOptions>;
    parsed = { entry, settings, args, options: readOptions(entry.spec.options, command, options.environment) };
  });
  try {
    program.parse(withoutVerboseLevel(argv), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // With code 1 it is help that nobody asked for: the command is missing.
    if (error.exitCode === 0 || error.code === "commander.help") return error.exitCode;
    const [message, ...suggestion] = error.message.replace(/^error: /, "").split("\n");
    throw new UsageError(message, {
      hint:
        insteadOf(message) ??
        (suggestion.join(" ").replace(/[()]/g, "") || `see "holdfast ${commandIn(argv, options)}--help"`),
    });
  }
  return parsed;
}

/** The command that was probably meant, with a space behind it; else nothing. */
function commandIn(argv: readonly string[], { commands }: ProgramOptions): string {
  const names = new Set(commands.map(({ spec }) => spec.name));
  const at = argv.findIndex((word, index) => names.has(word) || names.has(`${word} ${argv[index + 1] ?? ""}`));
  if (at < 0) return "";
  const both = `${argv[at]} ${argv[at + 1] ?? ""}`;
  return `${names.has(both) ? both : argv[at]} `;
}

/** The whole program as commander knows it, for help and completion. */
export function buildProgram(
  { commands, groups, version, print }: ProgramOptions,
  act: (entry: CommandEntry, args: readonly string[], command: Command) => void,
): Command {
  const program = new Command("holdfast")
    .description("Backups that need no looking after: deduplicated, compressed, encrypted.")
    .version(`holdfast ${version}`, "--version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command...]", "print help for a command")
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: print, outputError: () => undefined })
    .showSuggestionAfterError()
    .addHelpText("after", '\n"holdfast COMMAND --help" shows options and examples of a command.');
  addOptions(program, globalOptions);

  const parents = new Map<string, Command>();
  const addGroup = (name: string): Command => {
    const group = program.command(name).description(groups.find((one) => one.name === name)?.summary ?? "");
    parents.set(name, group);
    return group;
  };
  for (const entry of commands) {
    const { spec } = entry;
    const [first, ...rest] = spec.name.split(" ");
    const parent = rest.length === 0 ? program : (parents.get(first) ?? addGroup(first));
    const command = parent.command(rest.at(-1) ?? first).summary(spec.summary);
    // `server` does something by itself, and has `server install` below it.
    if (rest.length === 0) parents.set(first, command);
    command.description([`${capitalized(spec.summary)}.`, spec.description].filter(Boolean).join("\n\n"));
    for (const { name, summary } of spec.arguments ?? []) command.argument(name, summary);
    addOptions(command, spec.options);
    command.addHelpText("after", helpBelow(spec));
    command.action(() => act(entry, command.args, command));
  }
  return program;
}

function addOptions(command: Command, specs: OptionSpecs): void {
  for (const { flags, summary, kind, parse, environment } of Object.values(specs)) {
    const option = new Option(flags, environment === undefined ? summary : `${summary} (or ${environment})`);
    if (kind === "counter") option.argParser((_: string, before: number | undefined) => (before ?? 0) + 1);
    if (kind === "value") option.argParser((text: string) => parseValue(flags, parse, text));
    if (kind === "values") {
      option.argParser((text: string, before: readonly unknown[] | undefined) => [
        ...(before ?? []),
        parseValue(flags, parse, text),
      ]);
    }
    command.addOption(option);
  }
}

function parseValue(source: string, parse: (text: string) => unknown, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const name = /--[a-z0-9-]+/.exec(source)?.[0] ?? source;
    throw new UsageError(`${name}: ${messageOf(error)}`, { cause: error, ...(error.hint && { hint: error.hint }) });
  }
}

/** Values of options as typed, else from the environment, else as the spec says. */
function readOptions(specs: OptionSpecs, command: Command, environment: NodeJS.ProcessEnv): Record<string, unknown> {
  return Object.fromEntries(
    Object.values(specs).map((spec) => {
      const name = optionName(spec.flags);
      // An option that the command above knows as well (`server`, for `server install`) has been taken by that.
      const taker = [command, command.parent].find((one) => one?.getOptionValueSource(name) === "cli");
      const fromEnvironment = spec.environment === undefined ? undefined : environment[spec.environment];
      if (taker) return [name, taker.getOptionValue(name)];
      if (fromEnvironment) return [name, parseValue(spec.environment!, spec.parse, fromEnvironment)];
      return [name, spec.absent];
    }),
  );
}

/** restic also knows `--verbose=2`. */
function withoutVerboseLevel(argv: readonly string[]): string[] {
  const end = argv.indexOf("--");
  return argv.flatMap((argument, index) => {
    const level = end === -1 || index < end ? /^--verbose=([0-3])$/.exec(argument) : null;
    return level === null ? [argument] : Array.from({ length: Number(level[1]) }, () => "--verbose");
  });
}

function helpBelow({ examples, exitCodes = [] }: CommandSpec): string {
  const shown = examples.map(({ command, does }) => `  ${command}\n      ${does}`);
  const codes =
    exitCodes.length === 0 ? [] : ["", "Exit codes besides 0 and 1:", ...exitCodes.map((code) => `  ${code}`)];
  return ["", examples.length === 1 ? "Example:" : "Examples:", ...shown, ...codes, "", GLOBAL_HELP].join("\n");
}

const GLOBAL_HELP = 'Options of all commands are listed by "holdfast --help".';

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
