import { UsageError } from "../../errors.ts";

/**
 * The lines of a file of patterns, as patterns of ours (see `ExcludePatterns`). Where a line begins with `- ` or `+ `, all
 * are taken for rules of rsync's `--exclude-from` (rsync(1), "FILTER RULES"); else they stay as they are. Throws
 * `UsageError` where the file mixes both kinds.
 *
 * In rsync the first rule that matches decides, with us the last: so they come out in reverse.
 */
export function patternsOfLines(lines: readonly string[]): readonly string[] {
  if (!lines.some((line) => /^[+-] /.test(line))) return lines;
  const rules: string[][] = [];
  for (const line of lines) {
    if (line.trim() === "" || /^[#;]/.test(line)) continue;
    if (line.trim() === "!") {
      rules.length = 0;
      continue;
    }
    if (line.startsWith("!")) {
      throw new UsageError(`"${line}" stands among rules of rsync's ("- ${line.slice(1)}"), which know no such line`, {
        hint: `write "+ ${line.slice(1)}", before the rule that it is an exception to`,
      });
    }
    const [, sign, pattern] = /^(?:([+-]) +)?(.*)$/s.exec(line)!;
    rules.push(sign === "+" ? includes(pattern) : excludes(pattern));
  }
  return rules.toReversed().flat();
}

function excludes(pattern: string): string[] {
  // `folder/***` is the folder and all that lies in it, which goes with it.
  return [literalStart(pattern.replace(/\/\*\*\*$/, "/"))];
}

function includes(pattern: string): string[] {
  const folder = /^(.*\/)\*\*\*$/s.exec(pattern)?.[1];
  return folder === undefined ? [`!${pattern}`] : [`!${folder}`, `!${folder}**`];
}

/** What would make a comment or an exception of a pattern. */
function literalStart(pattern: string): string {
  return /^[#!]/.test(pattern) ? `\\${pattern}` : pattern;
}
