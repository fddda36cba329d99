import { UsageError } from "../../errors.ts";
import { flag, value, type CommandSpec } from "../command-spec.ts";
import { parseBytes } from "../output/format-bytes.ts";

export const checkSpec = {
  name: "check",
  summary: "look for damage in the repository",
  description:
    "Looks at every object and at all that belongs together. With --read-data also every byte is read and verified. " +
    "Without a password it checks what can be checked without a key.",
  options: {
    readData: flag("--read-data", "read and verify everything"),
    readDataSubset: value(
      "--read-data-subset <subset>",
      "read a part: 2/5 (the second fifth), 10% or 5G (at random)",
      parseSubset,
    ),
    withoutKey: flag("--without-key", "do not ask for a password; check what can be checked without"),
  },
  examples: [
    { command: "holdfast -r /srv/backup check", does: "a quick look" },
    { command: "holdfast -r /srv/backup check --read-data-subset 1/12", does: "and a twelfth of the data, in January" },
  ],
} satisfies CommandSpec;

export type Subset =
  | { readonly kind: "part"; readonly part: number; readonly of: number }
  | { readonly kind: "percent"; readonly percent: number }
  | { readonly kind: "bytes"; readonly bytes: number };

function parseSubset(text: string): Subset {
  const fraction = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  if (fraction !== null) {
    const [part, of] = fraction.slice(1).map(Number);
    if (part >= 1 && part <= of) return { kind: "part", part, of };
    throw new UsageError(`"${text}" is not a part`, { hint: "the first of five is 1/5, the last 5/5" });
  }
  const percent = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(text);
  if (percent === null) return { kind: "bytes", bytes: parseBytes(text) };
  if (Number(percent[1]) > 0 && Number(percent[1]) <= 100) return { kind: "percent", percent: Number(percent[1]) };
  throw new UsageError(`"${text}" is not between 0% and 100%`);
}
