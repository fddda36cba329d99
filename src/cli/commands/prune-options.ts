import { UsageError } from "../../errors.ts";
import { flag, value, type OptionValues } from "../command-spec.ts";
import { parseBytes } from "../output/format-bytes.ts";

/** How much may stay unused: a part of all that is stored after pruning, or so many bytes. */
export type UnusedLimit = { readonly part: number } | { readonly bytes: number };

export const pruneOptions = {
  maxUnused: value("--max-unused <limit>", "leave so much unused data: 5% (default), 200M or unlimited", parseLimit),
  maxRepackSize: value("--max-repack-size <size>", "copy no more than this in one run", parseBytes),
  thorough: flag(
    "--thorough",
    "read all folders of all snapshots, however many, to find unused parts inside of frames",
  ),
};

export type PruneOptionValues = OptionValues<typeof pruneOptions>;

function parseLimit(text: string): UnusedLimit {
  if (text === "unlimited") return { bytes: Infinity };
  const percent = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(text);
  if (percent === null) return { bytes: parseBytes(text) };
  const part = Number(percent[1]) / 100;
  if (part < 1) return { part };
  throw new UsageError(`"${text}" is not less than everything`);
}
