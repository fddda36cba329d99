/** Values that options take, as restic writes them. */
import { UsageError } from "../errors.ts";
import { MINIMUM_BYTES_PER_SECOND } from "../wire/hello.ts";
import { parseBytes } from "./output/format-bytes.ts";
import { parseGroupBy, parseKeepCount, parseKeepDuration, parseTagList } from "../retention/keep-rules.ts";
import type { GroupBy, KeepCount, KeepDuration, TagList } from "../retention/keep-rules.ts";

export function keepCount(text: string): KeepCount {
  const count = parseKeepCount(text);
  if (count === undefined) throw new UsageError(`"${text}" is neither a number nor "unlimited"`);
  return count;
}

export function keepDuration(text: string): KeepDuration {
  const duration = parseKeepDuration(text);
  if (duration !== undefined) return duration;
  throw new UsageError(`"${text}" is not a duration`, {
    hint: "write it like 2y5m7d3h: years, months, days and hours (7d for a week)",
  });
}

export function groupBy(text: string): GroupBy {
  const by = parseGroupBy(text);
  if (by !== undefined) return by;
  throw new UsageError(`"${text}" is not a grouping`, { hint: "list host, paths and tags, any of them, or nothing" });
}

export function tagList(text: string): TagList {
  return parseTagList(text);
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`"${text}" is not a whole number`);
  return Number(text);
}

/** Bytes a second: from KiB as restic takes them, or from a size such as 5M. 0 is no limit: infinitely many. */
export function rate(text: string): number {
  const bytes = /^\d{1,12}$/.test(text) ? Number(text) * 1024 : parseBytes(text);
  if (bytes === 0) return Infinity;
  if (bytes >= MINIMUM_BYTES_PER_SECOND) return bytes;
  throw new UsageError(`"${text}" is less than a KiB a second`);
}

export function oneOf<const Words extends readonly string[]>(words: Words): (text: string) => Words[number] {
  return (text) => {
    if (words.includes(text)) return text;
    throw new UsageError(`"${text}" is not one of ${words.join(", ")}`);
  };
}

/** A moment on the clock of this machine: `2026-11-20`, `2026-11-20 03:04:05`, or RFC 3339 with its zone. In ms since 1970. */
export function moment(text: string): number {
  const match = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?$/.exec(
    text.trim(),
  );
  const timeMs = match === null ? NaN : timeOf(match);
  if (Number.isNaN(timeMs)) {
    throw new UsageError(`"${text}" is not a time`, { hint: 'write it like "2026-11-20 03:04:05" or 2026-11-20' });
  }
  return timeMs;
}

function timeOf([text, year, month, day, hour, minute, second, zone]: readonly string[]): number {
  if (zone !== undefined) return Date.parse(text.trim().replace(" ", "T"));
  const parts = [year, month, day, hour ?? "0", minute ?? "0", second ?? "0"].map(Number);
  const date = new Date(parts[0], parts[1] - 1, parts[2], parts[3], parts[4], parts[5]);
  // A day that the month does not have would become one of the next.
  const isSame = date.getMonth() === parts[1] - 1 && date.getDate() === parts[2] && parts[3] < 24 && parts[4] < 60;
  return isSame && parts[5] < 60 ? date.getTime() : NaN;
}

export function portNumber(given: string): number {
  const port = Number(given);
  if (/^[0-9]+$/.test(given) && port > 0 && port < 65_536) return port;
  throw new UsageError(`"${given}" is no port`);
}

/** To gitignore these match nothing: whoever wrote one meant something else. `where` stands before the message. */
export function requirePattern(pattern: string, where = ""): string {
  const unescaped = pattern.startsWith("#") ? "" : pattern.replaceAll(/\\./gs, "");
  const open = /\[[!^]?\]?[^\]]*$/.exec(unescaped.replaceAll(/\[[!^]?\]?[^\]]*\]/g, ""));
  const problem = unescaped.endsWith("\\") ? "it ends with a backslash" : open === null ? undefined : "a [ has no ]";
  if (problem === undefined) return pattern;
  throw new UsageError(`${where}"${pattern}" is no pattern: ${problem}`, {
    hint: "a backslash before a character takes it as it is: \\[ or \\\\",
  });
}
