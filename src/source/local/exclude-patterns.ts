/**
 * Patterns of what not to save: the rules of gitignore, relative to `/`, with one difference that users of restic rely
 * on: a pattern with a slash inside but none at its start, such as `.cache/pip`, may begin at any folder.
 */
import ignore, { type Ignore } from "ignore";
import { type RawPath, rawPathToText } from "../../platform/raw-path.ts";

/** Takes a path as `matchableText` makes it, without a slash at the start, and with one at the end of folders. */
export type IsExcluded = (path: string) => boolean;

export interface ExcludePatterns {
  /** One rule each: `*.iso`, `/home/*` + `/.cache`, `!keep`. A later one wins. Empty ones and comments do nothing. */
  readonly patterns: readonly string[];
  /** The same, but upper and lower case are one. */
  readonly patternsIgnoringCase: readonly string[];
}

/** Undefined where there is nothing to test. */
export function compileExcludes({ patterns, patternsIgnoringCase }: ExcludePatterns): IsExcluded | undefined {
  const exact = compile(patterns, false);
  const ignoringCase = compile(patternsIgnoringCase, true);
  if (exact === undefined || ignoringCase === undefined) return exact ?? ignoringCase;
  return (path) => exact(path) || ignoringCase(path);
}

// The matcher remembers every path it was asked about. Starting a fresh one now and then, which shares the compiled
// rules, keeps memory flat.
const PATHS_REMEMBERED = 10_000;

function compile(patterns: readonly string[], ignoreCase: boolean): IsExcluded | undefined {
  const meant = patterns.filter((pattern) => pattern.trim() !== "" && !pattern.startsWith("#"));
  if (meant.length === 0) return undefined;
  const rules = ignore({ ignoreCase }).add(meant.map(atAnyFolder));
  let matcher: Ignore = ignore({ ignoreCase }).add(rules);
  let asked = 0;
  return (path) => {
    if (++asked % PATHS_REMEMBERED === 0) matcher = ignore({ ignoreCase }).add(rules);
    return matcher.ignores(path);
  };
}

function atAnyFolder(pattern: string): string {
  const [, negation, written] = /^(!?)(.*)$/s.exec(pattern) as unknown as [string, string, string];
  const body = written.replaceAll(/\/{2,}/g, "/").replace(/^(?:\.\/)+/, "");
  const anchored = body.startsWith("/") || !body.trimEnd().slice(0, -1).includes("/");
  return anchored ? negation + body : `${negation}**/${body}`;
}

/** One name as text that patterns can match: UTF-8 where it is, else one character a byte. */
export function matchableText(name: RawPath): string {
  // Plain ASCII reads the same either way.
  return /[^\u0000-\u007f]/.test(name) ? (rawPathToText(name) ?? name) : name;
}
