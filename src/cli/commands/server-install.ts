import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { messageOf, StorageError, UsageError } from "../../errors.ts";
import { shellQuoted } from "../../platform/shell-quoted.ts";
import { planInstallation } from "../../server/install.ts";
import type { Invocation } from "../command-spec.ts";
import { dataFolderOf } from "../data-option.ts";
import { PROGRAM_FILE } from "./server.ts";
import type { serverInstallSpec } from "./server.spec.ts";

export async function run({ context, options }: Invocation<typeof serverInstallSpec.options>): Promise<number> {
  const { output } = context;
  const dataFolder = path.resolve(dataFolderOf(options));
  const plan = planInstallation({ dataFolder, user: options.user ?? "holdfast", programFile: PROGRAM_FILE });
  if (output.json) output.jsonLine(plan);
  if (!options.print && process.getuid?.() !== 0) {
    throw new UsageError("setting up a service takes root", { hint: "use sudo, or see what it does with --print" });
  }
  if (!options.print && !existsSync("/run/systemd/system")) {
    throw new UsageError("systemd does not run on this machine", {
      hint: `run "holdfast server --data ${dataFolder}" by whatever starts services here`,
    });
  }
  for (const step of plan.steps) {
    output.note(`# ${step.does}`);
    if ("file" in step) {
      output.note(`write ${step.file}:`);
      for (const line of step.content.trimEnd().split("\n")) output.note(`    ${line}`);
      if (!options.print) writeFileSync(step.file, step.content);
      continue;
    }
    output.note(step.command.map(shellQuoted).join(" "));
    if (options.print || step.unless?.() === true) continue;
    try {
      // Where everybody may be: some commands run as another user.
      execFileSync(step.command[0], step.command.slice(1), { stdio: "inherit", cwd: "/" });
    } catch (cause) {
      const hint = step.ifNot === undefined ? {} : { hint: step.ifNot };
      throw new StorageError(`${step.command.join(" ")} failed: ${messageOf(cause)}`, { ...hint, cause });
    }
  }
  output.note("");
  output.note(`The recovery key will be in ${dataFolder}/recovery-key-default.txt: move it away from this machine.`);
  return 0;
}
