import { text, value } from "../command-spec.ts";
import { parseBytes } from "../output/format-bytes.ts";

export const pruneOptions = {
  maxUnused: text("--max-unused <limit>", "leave so much unused data where it is: 5% (default), 200M or unlimited"),
  maxRepackSize: value("--max-repack-size <size>", "copy no more than this in one run", parseBytes),
};
