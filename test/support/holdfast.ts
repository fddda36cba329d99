import path from "node:path";
import { run } from "./run-command.ts";
import type { CommandOptions, CommandResult } from "./run-command.ts";

/** Top of the checkout. */
export const checkoutFolder = path.resolve(import.meta.dirname, "../..");

/** Runs `bin/holdfast` as a person would, without what the tests' own environment says of repositories. */
export function holdfast(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return run(path.join(checkoutFolder, "bin/holdfast"), args, { ...options, env: { ...CLEAN, ...options.env } });
}

/** Runs a command that must end with 0, and returns its output. Throws with what it said otherwise. */
export async function holdfastOk(args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await holdfast(args, options);
  if (result.status !== 0) {
    throw new Error(`holdfast ${args.join(" ")}: exit code ${result.status}\n${result.stderr}${result.stdout}`);
  }
  return result.stdout;
}

const CLEAN = { HOLDFAST_REPOSITORY: undefined, HOLDFAST_PASSWORD: undefined };
