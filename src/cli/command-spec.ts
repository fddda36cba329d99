/**
 * What the command line knows of a command before it runs: its name, arguments, options and help. Light on purpose:
 * help and completion load all of them, whereas the code of a command is loaded only when it runs.
 */
import type { Context } from "./context.ts";

export interface CommandSpec<Options extends OptionSpecs = OptionSpecs> {
  /** `backup`; `key add` for a command below another. */
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs below the usage line. */
  readonly description?: string;
  /** As commander writes them: `<snapshot>`, `[path...]`. */
  readonly arguments?: readonly ArgumentSpec[];
  readonly options: Options;
  readonly examples: readonly Example[];
  /** Exit codes besides 0, 1 and those that every command shares. */
  readonly exitCodes?: readonly string[];
  /** It only prints: when nobody reads its output any more, it ends at once. */
  readonly printsOnly?: boolean;
}

export interface ArgumentSpec {
  readonly name: string;
  readonly summary: string;
  readonly completes?: Completes;
}

export interface Example {
  readonly command: string;
  readonly does: string;
}

/** What a shell may offer for a value. */
export type Completes = "file" | "folder" | readonly string[];

/** By the name under which the value arrives: that of the long flag, in camelCase. */
export type OptionSpecs = Readonly<Record<string, OptionSpec<unknown>>>;

export interface OptionSpec<Value> {
  /** `-e, --exclude <pattern>`. */
  readonly flags: string;
  readonly summary: string;
  /** A `switch` is on or off, a `counter` tells how often it is given, `values` may be given several times. */
  readonly kind: "switch" | "counter" | "value" | "values";
  /** Value where the option is not given. */
  readonly absent: Value;
  /** From the text of one value. Throws `UsageError`, whose message follows the option's name. */
  readonly parse: (text: string) => unknown;
  /** Environment variable that stands in for the option. */
  readonly environment: string | undefined;
  readonly completes: Completes | undefined;
}

export type OptionValues<Options extends OptionSpecs> = {
  readonly [Name in keyof Options]: Options[Name] extends OptionSpec<infer Value> ? Value : never;
};

export interface Invocation<Options extends OptionSpecs> {
  readonly context: Context;
  readonly args: readonly string[];
  readonly options: OptionValues<Options>;
}

/** The code of a command. Resolves to the exit code. */
export interface CommandModule<Options extends OptionSpecs> {
  readonly run: (invocation: Invocation<Options>) => Promise<number>;
}

interface ValueDetails {
  readonly environment?: string;
  readonly completes?: Completes;
}

/** True where it is given. */
export function flag(flags: string, summary: string): OptionSpec<boolean> {
  return { ...text(flags, summary), kind: "switch", absent: false };
}

/** `--no-…`: false where it is given. */
export function negation(flags: string, summary: string): OptionSpec<boolean> {
  return { ...text(flags, summary), kind: "switch", absent: true };
}

export function counter(flags: string, summary: string): OptionSpec<number> {
  return { ...text(flags, summary), kind: "counter", absent: 0 };
}

export function text(flags: string, summary: string, details: ValueDetails = {}): OptionSpec<string | undefined> {
  return value(flags, summary, (given) => given, details);
}

export function value<Value>(
  flags: string,
  summary: string,
  parse: (text: string) => Value,
  details: ValueDetails = {},
): OptionSpec<Value | undefined> {
  const { environment, completes } = details;
  return { flags, summary, kind: "value", absent: undefined, parse, environment, completes };
}

export function valueOr<Value>(
  absent: Value,
  flags: string,
  summary: string,
  parse: (text: string) => Value,
  details: ValueDetails = {},
): OptionSpec<Value> {
  return { ...value(flags, summary, parse, details), absent };
}

/** Several texts; none where it is not given. */
export function list(flags: string, summary: string, details: ValueDetails = {}): OptionSpec<readonly string[]> {
  return valueList(flags, summary, (given) => given, details);
}

export function valueList<Value>(
  flags: string,
  summary: string,
  parse: (text: string) => Value,
  details: ValueDetails = {},
): OptionSpec<readonly Value[]> {
  return { ...value(flags, summary, parse, details), kind: "values", absent: [] };
}

/** `--keep-daily` as `keepDaily`, `--no-cache` as `cache`: the name under which a value arrives. */
export function optionName(flags: string): string {
  const long = /--(?:no-)?([a-z0-9-]+)/.exec(flags)![1];
  return long.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}
