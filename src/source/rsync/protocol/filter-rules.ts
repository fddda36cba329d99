import type { Channel } from "./channel.ts";
import { RSYNC_EXIT, RsyncProtocolError, RsyncRefusedError } from "./rsync-error.ts";

/**
 * rsync's filter rules, as far as a client sends them to the sending side (rsync(1), "FILTER RULES"): the first rule
 * that matches decides.
 */
export interface FilterRules {
  /** Whether a path is left out. `path` has no slash at its start, and one character a byte. */
  readonly excludes: (path: string, isDirectory: boolean) => boolean;
}

const MOST_RULES = 20_000;
const LONGEST_RULE_BYTES = 5 * 1024;
/** Of all rules together: compiled, they take some hundred times that. */
const MOST_RULE_BYTES = 1024 * 1024;

/** Reads the rules that a client sends before the list of files. */
export async function receiveFilterRules(channel: Channel): Promise<string[]> {
  const rules: string[] = [];
  let bytes = 0;
  for (;;) {
    const rule = await channel.input.decode((from) => {
      const length = from.int32();
      if (length < 0 || length > LONGEST_RULE_BYTES) {
        throw new RsyncProtocolError(`rsync protocol: a filter rule has ${length} bytes`);
      }
      return from.view(length).latin1Slice();
    });
    if (rule === "") return rules;
    rules.push(rule);
    bytes += rule.length;
    if (rules.length > MOST_RULES || bytes > MOST_RULE_BYTES)
      throw new RsyncProtocolError("rsync protocol: there are too many filter rules");
  }
}

/** Compiles rules for the sending side. Throws `RsyncRefusedError` for those that would need files to be read there. */
export function compileFilterRules(texts: readonly string[]): FilterRules {
  let rules: Rule[] = [];
  for (const text of texts) {
    const rule = parseRule(text);
    if (rule === "clear") rules = [];
    else if (rule !== undefined) rules.push(rule);
  }
  const work: MatchingWork = { steps: 0 };
  let allowedSteps = MOST_STEPS;
  return {
    excludes: (path, isDirectory) => {
      allowedSteps += MOST_STEPS_A_PATH;
      for (const rule of rules) {
        if (matches(rule, path, isDirectory, work)) return !rule.includes;
        if (work.steps > allowedSteps) throw new RsyncRefusedError("the filter rules take too long to apply");
      }
      return false;
    },
  };
}

/** How much was done to match patterns: a step is one character of a subject at one place of a pattern. */
interface MatchingWork {
  steps: number;
}

/** Some seconds, and for each path some milliseconds: much more than rules take that were not made to take long. */
const MOST_STEPS = 100_000_000;
const MOST_STEPS_A_PATH = 200_000;

interface Rule {
  readonly includes: boolean;
  readonly negated: boolean;
  readonly onlyDirectories: boolean;
  /** What of a path is compared: its last part, all of it, all with a slash before it, or any number of last parts. */
  readonly against: "name" | "path" | "slashed" | "tail";
  /** `dir/***` matches the directory itself too. */
  readonly matchesWithSlash: boolean;
  /** The whole pattern, where it has no wildcards. */
  readonly literal: string | undefined;
  /** What all that matches ends with: most of what does not is told by it. */
  readonly end: string;
  readonly tokens: readonly Token[];
}

type Token = { readonly kind: "byte"; readonly byte: number } | { readonly kind: "any" | "star" | "stars" } | ByteClass;

interface ByteClass {
  readonly kind: "class";
  readonly has: (byte: number) => boolean;
}

const WORDS = new Map([
  ["clear", "!"],
  ["dir-merge", ":"],
  ["exclude", "-"],
  ["hide", "H"],
  ["include", "+"],
  ["merge", "."],
  ["protect", "P"],
  ["risk", "R"],
  ["show", "S"],
]);

function parseRule(text: string): Rule | "clear" | undefined {
  const word = /^[a-z-]{4,}/.exec(text)?.[0];
  const long = word === undefined ? undefined : WORDS.get(word);
  const kind = long ?? text[0];
  let at = long === undefined ? 1 : (word ?? "").length;
  if (kind === "!") return "clear";
  if (text[at] === ",") at++;
  const end = text.slice(at).search(/[ _]/);
  const modifiers = end < 0 ? text.slice(at) : text.slice(at, at + end);
  const pattern = end < 0 ? "" : text.slice(at + end + 1);
  if (kind === ":" || kind === "." || modifiers.includes("C")) {
    throw new RsyncRefusedError("filter files that lie among the files (-F, -C, dir-merge) are not read here");
  }
  if (!"+-HSPR".includes(kind) || !/^[!/psrx]*$/.test(modifiers) || pattern === "") {
    throw new RsyncRefusedError(`unknown filter rule: ${text}`, RSYNC_EXIT.usage);
  }
  const isForReceiver = "PR".includes(kind) || (modifiers.includes("r") && !modifiers.includes("s"));
  // Rules for names of attributes are applied by the client as well.
  if (isForReceiver || modifiers.includes("x")) return undefined;
  return compilePattern(pattern, "+S".includes(kind), modifiers.includes("!"), modifiers.includes("/"));
}

function compilePattern(written: string, includes: boolean, negated: boolean, isAbsolute: boolean): Rule {
  const onlyDirectories = written.length > 1 && written.endsWith("/");
  const body = onlyDirectories ? written.slice(0, -1) : written;
  const isAnchored = body.startsWith("/") || isAbsolute;
  const pattern = body.startsWith("/") ? body.slice(1) : body;
  const hasWildcards = /[*?[]/.test(body);
  const hasStars = pattern.includes("**");
  const tokens = hasWildcards ? tokenize(pattern) : [];
  let against: Rule["against"] = "tail";
  if (isAnchored) against = "path";
  else if (!pattern.includes("/") && !hasStars) against = "name";
  else if (pattern.startsWith("**")) against = "slashed";
  return {
    includes,
    negated,
    onlyDirectories,
    against,
    matchesWithSlash: body.endsWith("***"),
    literal: hasWildcards ? undefined : pattern,
    end: hasWildcards ? literalEnd(tokens) : "",
    tokens,
  };
}

function literalEnd(tokens: readonly Token[]): string {
  let end = "";
  for (const token of tokens.toReversed()) {
    if (token.kind !== "byte") break;
    end = String.fromCharCode(token.byte) + end;
  }
  return end;
}

function tokenize(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i];
    if (char === "*") {
      const start = i;
      while (pattern[i + 1] === "*") i++;
      tokens.push({ kind: i > start ? "stars" : "star" });
    } else if (char === "?") {
      tokens.push({ kind: "any" });
    } else if (char === "[" && pattern.indexOf("]", i + 2) > 0) {
      const { token, end } = parseClass(pattern, i);
      tokens.push(token);
      i = end;
    } else {
      if (char === "\\" && i + 1 < pattern.length) i++;
      tokens.push({ kind: "byte", byte: pattern.charCodeAt(i) });
    }
  }
  return tokens;
}

const NAMED_CLASSES = new Map<string, RegExp>([
  ["alnum", /[0-9A-Za-z]/],
  ["alpha", /[A-Za-z]/],
  ["blank", /[ \t]/],
  ["digit", /[0-9]/],
  ["lower", /[a-z]/],
  ["punct", /[!-/:-@[-`{-~]/],
  ["space", /\s/],
  ["upper", /[A-Z]/],
  ["xdigit", /[0-9A-Fa-f]/],
]);

function parseClass(pattern: string, start: number): { readonly token: ByteClass; readonly end: number } {
  let at = start + 1;
  const isInverted = pattern[at] === "!" || pattern[at] === "^";
  if (isInverted) at++;
  const members = new Set<number>();
  for (let isFirst = true; at < pattern.length && (isFirst || pattern[at] !== "]"); isFirst = false) {
    const named = /^\[:([a-z]+):\]/.exec(pattern.slice(at));
    const namedClass = named === null ? undefined : NAMED_CLASSES.get(named[1]);
    if (named !== null && namedClass !== undefined) {
      for (let byte = 0; byte < 128; byte++) if (namedClass.test(String.fromCharCode(byte))) members.add(byte);
      at += named[0].length;
      continue;
    }
    if (pattern[at] === "\\" && at + 1 < pattern.length) at++;
    const first = pattern.charCodeAt(at++);
    let last = first;
    if (pattern[at] === "-" && at + 1 < pattern.length && pattern[at + 1] !== "]") {
      at++;
      if (pattern[at] === "\\" && at + 1 < pattern.length) at++;
      last = pattern.charCodeAt(at++);
    }
    for (let byte = first; byte <= last; byte++) members.add(byte);
  }
  return { token: { kind: "class", has: (byte) => byte !== SLASH && members.has(byte) !== isInverted }, end: at };
}

const SLASH = 0x2f;

function matches(rule: Rule, path: string, isDirectory: boolean, work: MatchingWork): boolean {
  if (rule.onlyDirectories && !isDirectory) return rule.negated;
  return isFound(rule, rule.matchesWithSlash && isDirectory ? `${path}/` : path, path, work) !== rule.negated;
}

function isFound({ against, literal, end, tokens }: Rule, subject: string, path: string, work: MatchingWork): boolean {
  const name = path.lastIndexOf("/") + 1;
  const compared = against === "name" ? subject.slice(name) : against === "slashed" ? `/${subject}` : subject;
  if (literal !== undefined) {
    return (
      compared === literal || (against === "tail" && compared.endsWith(literal) && compared.endsWith(`/${literal}`))
    );
  }
  if (!compared.endsWith(end)) return false;
  return matchesWhole(tokens, compared, against === "tail", work);
}

/**
 * Follows all ways to match at once, so that no pattern takes longer than its length times that of the subject: patterns
 * come from the other side. With `fromAnyPart` the match may begin after any slash.
 */
function matchesWhole(tokens: readonly Token[], subject: string, fromAnyPart: boolean, work: MatchingWork): boolean {
  let states = new Uint8Array(tokens.length + 1);
  let next = new Uint8Array(tokens.length + 1);
  states[0] = 1;
  skipStars(tokens, states);
  for (let i = 0; i < subject.length; i++) {
    const byte = subject.charCodeAt(i);
    const begins = fromAnyPart && byte === SLASH;
    let isAlive = begins;
    next.fill(0);
    for (let state = 0; state < tokens.length; state++) {
      if (states[state] === 0) continue;
      const token = tokens[state];
      if (token.kind === "stars" || (token.kind === "star" && byte !== SLASH)) next[state] = 1;
      else if (token.kind === "star" || !takes(token, byte)) continue;
      else next[state + 1] = 1;
      isAlive = true;
    }
    work.steps += tokens.length;
    if (begins) next[0] = 1;
    if (!isAlive && !fromAnyPart) return false;
    skipStars(tokens, next);
    [states, next] = [next, states];
  }
  return states[tokens.length] === 1;
}

function takes(token: Token, byte: number): boolean {
  if (token.kind === "byte") return token.byte === byte;
  if (token.kind === "class") return token.has(byte);
  return token.kind === "any" && byte !== SLASH;
}

/** A star may also stand for nothing. */
function skipStars(tokens: readonly Token[], states: Uint8Array): void {
  for (let state = 0; state < tokens.length; state++) {
    const { kind } = tokens[state];
    if (states[state] === 1 && (kind === "star" || kind === "stars")) states[state + 1] = 1;
  }
}

/** Whether a name matches a shell pattern, as in an argument: `*` does not stand for a slash. */
export function matchesGlob(pattern: string, name: string): boolean {
  return matchesWhole(tokenize(pattern), name, false, { steps: 0 });
}
