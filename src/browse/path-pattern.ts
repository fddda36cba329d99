/**
 * Patterns for paths, as restic has them for `find`, `--include` and `--exclude`.
 *
 * - A pattern that starts with `/` begins at the top of the snapshot; any other may begin at any folder.
 * - What matches a folder matches everything below it.
 * - `*` stands for any characters but `/`, `?` for one, `[a-z]` and `[^a-z]` for one of a set, `**` as a part of its own
 *   for any number of folders, and `\` takes the next character as it is.
 */
import { UsageError } from "../errors.ts";
import { rawPathToText, type RawPath } from "../platform/raw-path.ts";

export interface PathPattern {
  /** As the user wrote it. */
  readonly text: string;
  /** Whether the pattern begins at the top: then what it matches depends on where a folder lies. */
  readonly anchored: boolean;
  /** Whether the pattern needs more than one part of a path. */
  readonly spansParts: boolean;
  matches(path: MatchablePath): boolean;
  /** Whether something below this folder may match. */
  mayMatchBelow(folder: MatchablePath): boolean;
}

/** A path as patterns see it: text, without a slash at the start; parts that are not UTF-8 one character a byte. */
export type MatchablePath = string & { readonly __matchablePath: true };

export interface PathPatternOptions {
  readonly ignoreCase: boolean;
}

export function matchablePath(path: RawPath): MatchablePath {
  // Plain ASCII, as most paths are, reads the same either way.
  if (!/[^\u0000-\u007f]/.test(path)) return path as string as MatchablePath;
  return path
    .split("/")
    .map((part) => rawPathToText(part as RawPath) ?? part)
    .join("/") as MatchablePath;
}

/** Throws `UsageError` for a pattern that makes no sense. */
export function compilePathPattern(text: string, options: PathPatternOptions): PathPattern {
  const anchored = text.startsWith("/");
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  const flags = options.ignoreCase ? "iu" : "u";
  const whole = new RegExp(`${anchored ? "^" : "(?:^|/)"}${partsExpression(parts, text)}(?:/|$)`, flags);
  const above = new RegExp(`^${prefixExpression(parts, text)}$`, flags);
  const matchesAll = parts.length === 0;
  return {
    text,
    anchored,
    spansParts: parts.length > 1,
    matches: (path) => matchesAll || (path !== "" && whole.test(path)),
    mayMatchBelow: (folder) => matchesAll || !anchored || above.test(folder) || whole.test(folder),
  };
}

function partsExpression(parts: readonly string[], text: string): string {
  let expression = "";
  for (const [index, part] of parts.entries()) {
    const last = index === parts.length - 1;
    if (part !== "**") expression += partExpression(part, text) + (last || parts[index + 1] === "**" ? "" : "/");
    else if (index === 0) expression += last ? "[^/]*" : "(?:[^/]+/)*";
    // A `**` in the middle or at the end may stand for nothing: then the slash before it goes too.
    else expression += last ? "(?:/[^/]+)*" : "(?:/[^/]+)*/";
  }
  return expression;
}

/** Matches the folders on the way to what the pattern matches. */
function prefixExpression(parts: readonly string[], text: string): string {
  let expression = "";
  let closing = "";
  for (const [index, part] of parts.entries()) {
    const slash = index === 0 ? "" : "/";
    if (part === "**") return `${expression}(?:${slash}[^]*)?${closing}`;
    expression += `(?:${slash}${partExpression(part, text)}`;
    closing += ")?";
  }
  return expression + closing;
}

function partExpression(part: string, text: string): string {
  let expression = "";
  const characters = Array.from(part);
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at];
    if (character === "*") {
      // Several in a row are one; written once, they cannot make matching slow.
      if (characters[at - 1] !== "*" || characters[at - 2] === "\\") expression += "[^/]*";
    } else if (character === "?") expression += "[^/]";
    else if (character === "\\") {
      at++;
      if (at === characters.length) throw badPattern(text, "it ends with a backslash");
      expression += literal(characters[at]);
    } else if (character === "[") {
      const set = setExpression(characters, at, text);
      expression += set.expression;
      at = set.end;
    } else expression += literal(character);
  }
  return expression;
}

function setExpression(
  characters: readonly string[],
  start: number,
  text: string,
): { expression: string; end: number } {
  let at = start + 1;
  const negated = characters[at] === "^" || characters[at] === "!";
  if (negated) at++;
  let members = "";
  const one = (): string => {
    if (characters[at] === "\\") at++;
    const character = characters[at++];
    if (character === undefined) throw badPattern(text, "a [ has no ]");
    return character;
  };
  const first = at;
  while (characters[at] !== "]" || at === first) {
    const from = one();
    if (characters[at] === "-" && characters[at + 1] !== "]" && characters[at + 1] !== undefined) {
      at++;
      const to = one();
      if ((from.codePointAt(0) ?? 0) > (to.codePointAt(0) ?? 0))
        throw badPattern(text, `the range ${from}-${to} is empty`);
      members += `${literal(from)}-${literal(to)}`;
    } else members += literal(from);
  }
  return { expression: negated ? `[^/${members}]` : `(?!/)[${members}]`, end: at };
}

function literal(character: string): string {
  return /[\^$\\.*+?()[\]{}|/&\-!#%,:;<=>@`~]/.test(character)
    ? `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
    : character;
}

function badPattern(text: string, problem: string): UsageError {
  return new UsageError(`"${text}" is no pattern: ${problem}`);
}
