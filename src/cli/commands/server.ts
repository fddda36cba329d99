import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { messageOf, UsageError } from "../../errors.ts";
import { dataFile } from "../../fleet/data-folder.ts";
import { DEFAULT_CONFIGURATION, parseConfiguration, type Configuration } from "../../server/configuration.ts";
import { startServer } from "../../server/daemon.ts";
import { createLog } from "../../server/log.ts";
import type { Invocation } from "../command-spec.ts";
import type { Output } from "../output/output.ts";
import { programVersion } from "../program-version.ts";
import { dataFolderOf } from "../data-option.ts";
import type { serverSpec } from "./server.spec.ts";

/** `bin/holdfast` of this installation. */
export const PROGRAM_FILE = path.resolve(import.meta.dirname, "../../../bin/holdfast");

export async function run({ context, options }: Invocation<typeof serverSpec.options>): Promise<number> {
  const { output, signal } = context;
  process.umask(0o077);
  const dataFolder = path.resolve(dataFolderOf(options));
  const configuration = readConfiguration(options.config, dataFolder);
  const server = await startServer({
    dataFolder,
    configuration,
    program: `holdfast ${programVersion()}`,
    programFile: PROGRAM_FILE,
    log: createLog((line) => process.stderr.write(line), configuration.log.level),
    onRecoveryIdentity: (account, identity) => showRecoveryIdentity(output, dataFolder, account, identity),
  });
  output.note(`The server runs. Its data is in ${dataFolder}.`);
  output.note(`See how it is: holdfast status --data ${dataFolder}`);
  await output.flush();
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  await server.close();
  return 0;
}

function readConfiguration(given: string | undefined, dataFolder: string): Configuration {
  const file = given ?? dataFile.configuration(dataFolder);
  if (given === undefined && !existsSync(file)) return DEFAULT_CONFIGURATION;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new UsageError(`could not read the configuration ${file}: ${messageOf(cause)}`, { cause });
  }
  return parseConfiguration(text, file);
}

/** On a terminal for the person there; else in a file, as logs are read by others and kept for long. */
export function showRecoveryIdentity(output: Output, dataFolder: string, account: string, identity: string): void {
  if (output.isTerminal) {
    for (const line of recoveryText(account, identity)) output.line(line);
    return;
  }
  const file = path.join(dataFolder, `recovery-key-${account}.txt`);
  const text = recoveryText(account, identity).map((line) => (line === identity ? line : `# ${line}`.trimEnd()));
  writeFileSync(file, `${text.join("\n")}\n`, { mode: 0o600 });
  output.line(`The recovery key of the account "${account}" is in ${file}. Move it away from this machine now.`);
}

export function recoveryText(account: string, identity: string): string[] {
  return [
    `Recovery key of the account "${account}". It opens everything that will be saved, and is shown only now.`,
    "Print it, or keep it in a safe place away from this server; docs/recovery.md says how to use it.",
    "",
    identity,
    "",
  ];
}
