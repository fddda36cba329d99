/** The server's configuration file: TOML, all of it optional. */
import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { UsageError } from "../errors.ts";
import { DEFAULT_UPKEEP } from "../fleet/due-jobs.ts";
import { DEFAULT_HISTORY } from "../fleet/runs.ts";

const configuration = z.strictObject({
  log: z.strictObject({ level: z.enum(["debug", "info", "warning", "error"]).default("info") }).prefault({}),
  ssh: z
    .strictObject({
      /** Where sshd looks for the keys of the server's user. */
      authorized_keys: z.string().startsWith("/", { error: "must be a full path" }).optional(),
      /** The program that a host's login runs, where it is not this one. */
      program: z.string().startsWith("/", { error: "must be a full path" }).optional(),
    })
    .prefault({}),
  maintenance: z
    .strictObject({
      enabled: z.boolean().default(true),
      retention_hours: z.number().positive().max(8760).default(DEFAULT_UPKEEP.retentionHours),
      check_days: z.number().min(1).max(3650).default(DEFAULT_UPKEEP.checkDays),
      drill_days: z.number().positive().max(3650).default(DEFAULT_UPKEEP.drillDays),
    })
    .prefault({}),
  /** Of runs and of maintenance. */
  history: z
    .strictObject({
      days: z.number().min(1).max(36_500).default(DEFAULT_HISTORY.days),
      /** Of each host. */
      runs: z.int().min(1).max(1_000_000).default(DEFAULT_HISTORY.runs),
    })
    .prefault({}),
  pulls: z
    .strictObject({
      enabled: z.boolean().default(true),
      /** So many hosts are pulled from at once. */
      at_once: z.int().min(1).max(100).default(3),
      /** A pull that takes longer is stopped. */
      longest_hours: z.number().positive().max(8760).default(48),
    })
    .prefault({}),
});

export type Configuration = z.infer<typeof configuration>;

export const DEFAULT_CONFIGURATION: Configuration = configuration.parse({});

/** Reads the text of a configuration file. Throws `UsageError` that names file, line and key. */
export function parseConfiguration(text: string, file: string): Configuration {
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const problem = cause.message.split("\n")[0].replace(/^Invalid TOML document: /, "");
    const key = keyOfLine(text, cause.line);
    throw new UsageError(`${file}, line ${cause.line}: ${key === "" ? "" : `${key}: `}${problem}`, {
      hint: 'a text stands in quotes, as in level = "info"; see docs/server.md for all settings',
      cause,
    });
  }
  const result = configuration.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0]] : issue.path;
  const key = path.map(String).join(".");
  const problem = issue.code === "unrecognized_keys" ? "is not a setting" : issue.message;
  throw new UsageError(`${file}, line ${lineOfKey(text, path.map(String))}: ${key}: ${problem}`, {
    hint: "see docs/server.md for all settings",
  });
}

/** The line, from 1, on which a key of a table stands: `["ssh", "program"]`, as `[ssh]` and `program =`, or dotted. */
function lineOfKey(text: string, path: readonly string[]): number {
  let table: string[] = [];
  let best = 1;
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[+\s*([^\]]+?)\s*\]+/.exec(line);
    if (header !== null) table = partsOf(header[1]);
    const key = header === null ? /^\s*([^=#[\]]+?)\s*=/.exec(line) : null;
    const here = key === null ? table : [...table, ...partsOf(key[1])];
    if (here.length === 0 || !here.every((part, at) => part === path[at])) continue;
    best = index + 1;
    if (here.length === path.length) return best;
  }
  return best;
}

/** The key that begins on a line or stands above it, with its table; nothing where there is none. */
function keyOfLine(text: string, lineNumber: number): string {
  let table = "";
  let key = "";
  for (const line of text.split("\n").slice(0, lineNumber)) {
    const header = /^\s*\[+\s*([\w.-]+)/.exec(line)?.[1];
    if (header !== undefined) [table, key] = [header, ""];
    key = /^\s*([\w."'-]+)\s*=/.exec(line)?.[1] ?? key;
  }
  return [table, key].filter((part) => part !== "").join(".");
}

function partsOf(key: string): string[] {
  return key.split(".").map((part) => part.trim().replace(/^["']|["']$/g, ""));
}
