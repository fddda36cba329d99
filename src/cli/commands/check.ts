import { UsageError } from "../../errors.ts";
import { PREFIXES } from "../../format/names.ts";
import { checkRepository, type CheckProblem, type CheckResult, type ReadData } from "../../repository/check.ts";
import { readConfig, type Repository } from "../../repository/repository.ts";
import { openStorage } from "../../storage/open.ts";
import { untilEnd } from "../at-end.ts";
import { paceOf } from "../pace.ts";
import type { Invocation, OptionValues } from "../command-spec.ts";
import type { Context } from "../context.ts";
import { openFromSettings, repositoryOptions, requireRepository } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import type { Output } from "../output/output.ts";
import type { checkSpec } from "./check.spec.ts";

type CheckOptions = OptionValues<typeof checkSpec.options>;

export async function run({ context, options }: Invocation<typeof checkSpec.options>): Promise<number> {
  const { output, signal } = context;
  const readData = readDataOf(options);
  const { storage, config, ring } = await open(context, options);
  if (ring === undefined) output.note("without a key: content and trees are not looked at");
  const broken: string[] = [];
  const result = await checkRepository({
    storage,
    config,
    ring,
    readData,
    onProblem: (problem) => {
      if (problem.severity === "error") broken.push(problem.object);
      reportProblem(output, problem);
    },
    onStep: (step) => output.note(step),
    onRead: (bytes, total) => showRead(output, bytes, total),
    signal,
  });
  output.live.show([]);
  summarize(output, result, broken);
  return result.errors > 0 ? 1 : 0;
}

async function open(
  context: Context,
  { withoutKey }: CheckOptions,
): Promise<Omit<Repository, "ring"> & Partial<Repository>> {
  if (!withoutKey) return openFromSettings(context);
  const storage = untilEnd(await openStorage(requireRepository(repositoryOptions(context)), { pace: paceOf(context) }));
  return { storage, config: await readConfig(storage), keyId: undefined };
}

function readDataOf({ readData, readDataSubset }: CheckOptions): ReadData | undefined {
  if (readData && readDataSubset !== undefined) {
    throw new UsageError("--read-data and --read-data-subset exclude each other");
  }
  return readData ? { kind: "all" } : readDataSubset;
}

function showRead(output: Output, bytes: number, totalBytes: number): void {
  if (output.json || output.quiet || !output.isTerminal) return;
  output.live.show([`${formatBytes(bytes)} of ${formatBytes(totalBytes)} read`]);
}

function reportProblem(output: Output, { severity, object, message }: CheckProblem): void {
  if (severity === "error") {
    output.warning(`error: ${object}: ${message}`, {
      message_type: "error",
      message: `${object}: ${message}`,
      item: object,
    });
  } else {
    output.note(`note: ${object}: ${message}`);
  }
}

function summarize(output: Output, result: CheckResult, broken: readonly string[]): void {
  const { errors, snapshots, packs, packsRead, bytesRead, trees } = result;
  if (output.json) {
    output.jsonLine({
      message_type: "summary",
      num_errors: errors,
      broken_packs: broken.filter((object) => object.startsWith("packs/")).map((object) => object.split("/").at(-1)),
      suggest_repair_index: broken.some((object) => object.startsWith("index/")),
      suggest_prune: false,
      snapshots,
      packs,
      packs_read: packsRead,
      bytes_read: bytesRead,
      trees,
    });
    return;
  }
  const read = packsRead === 0 ? "" : `; read ${packsRead} packs (${formatBytes(bytesRead)})`;
  output.note(`looked at ${snapshots} snapshots, ${packs} packs and ${trees} folders${read}`);
  if (errors === 0) output.note("no errors were found");
  else {
    output.warning(`Fatal: the repository has ${errors} ${errors === 1 ? "error" : "errors"}`);
    const onlyKeys = broken.every((object) => object.startsWith(PREFIXES.key));
    output.warning(
      onlyKeys
        ? "       put a copy of a key file back into keys/: without one, nothing can be read"
        : '       "holdfast repair index", "repair packs" and "repair snapshots", in this order, save what can be saved',
    );
  }
}
