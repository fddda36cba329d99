import type { OptionValues } from "./command-spec.ts";
import type { globalOptions } from "./global-options.ts";
import type { Output } from "./output/output.ts";

/** What every command gets besides its own arguments. */
export interface Context {
  readonly settings: OptionValues<typeof globalOptions>;
  readonly output: Output;
  /** Aborted when the user wants it to end: its reason is an `InterruptedError`. */
  readonly signal: AbortSignal;
}
