import { UsageError } from "../../errors.ts";
import type { Invocation } from "../command-spec.ts";
import { bashCompletion } from "../completion/bash.ts";
import { describeForCompletion } from "../completion/completable.ts";
import { fishCompletion } from "../completion/fish.ts";
import { zshCompletion } from "../completion/zsh.ts";
import { loadEntries } from "../listed-command.ts";
import type { completionSpec } from "./completion.spec.ts";
import { commandTable, commandGroups } from "./table.ts";

const GENERATORS = new Map([
  ["bash", bashCompletion],
  ["zsh", zshCompletion],
  ["fish", fishCompletion],
]);

export async function run({ context, args }: Invocation<typeof completionSpec.options>): Promise<number> {
  const generate = GENERATORS.get(args[0]);
  if (generate === undefined) {
    throw new UsageError(`"${args[0]}" is not a shell that completion is known for`, { hint: "use bash, zsh or fish" });
  }
  const specs = (await loadEntries(commandTable)).map(({ spec }) => spec);
  context.output.line(generate(describeForCompletion(specs, commandGroups)));
  return 0;
}
