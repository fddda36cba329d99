/**
 * Stands in for rsync in rsync's own tests, which copy from one folder of this machine into another: has a stock rsync do
 * so with Holdfast as the far side. `fetch`: the source is saved beforehand, and the test's options are those of the
 * fetch. `push`: they are those of the push, and what was saved is fetched into the destination afterwards.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";

const REAL = process.env.SUITE_REAL_RSYNC ?? "rsync";
const SHELL = process.env.SUITE_SHELL ?? "";
const MODE = process.env.SUITE_MODE ?? "";
const HOST = "holdfast";
const ALL = ["-aHAX", "--numeric-ids"];

/** Options whose value is the next word. */
const LETTERS_WITH_VALUE = new Set(["f", "T", "B", "M", "@", "e"]);
const WORDS_WITH_VALUE = new Set(
  (
    "backup-dir block-size bwlimit chmod chown compare-dest compress-choice copy-dest exclude exclude-from files-from " +
    "filter include include-from link-dest log-file max-delete max-size min-size modify-window out-format partial-dir " +
    "rsh rsync-path suffix temp-dir timeout groupmap usermap"
  ).split(" "),
);

interface Parsed {
  readonly options: readonly string[];
  readonly places: readonly string[];
}

function parse(args: readonly string[]): Parsed {
  const options: string[] = [];
  const places: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const word = args[i];
    if (word === "--") return { options, places: [...places, ...args.slice(i + 1)] };
    if (!word.startsWith("-") || word === "-") places.push(word);
    else options.push(word);
    const takesNext = word.startsWith("--")
      ? WORDS_WITH_VALUE.has(word.slice(2))
      : word.startsWith("-") && LETTERS_WITH_VALUE.has(word.at(-1) ?? "");
    if (takesNext && i + 1 < args.length) options.push(args[++i]);
  }
  return { options, places };
}

function rsync(args: readonly string[], isQuiet: boolean): number {
  const result = spawnSync(REAL, args, { stdio: ["inherit", isQuiet ? "ignore" : "inherit", "inherit"] });
  return result.status ?? 125;
}

/** What an rsync says only because there is a far side. The tests compare what it says of files. */
const SAID_OF_FAR_SIDE =
  /^(?:opening connection using: |receiving (?:incremental )?file list|delta-transmission ).*\n/gm;

function rsyncToFarSide(args: readonly string[]): number {
  const result = spawnSync(REAL, args, { stdio: ["inherit", "pipe", "inherit"], maxBuffer: MOST_OUTPUT_BYTES });
  process.stdout.write(result.stdout.toString("latin1").replaceAll(SAID_OF_FAR_SIDE, ""), "latin1");
  return result.status ?? 125;
}

const MOST_OUTPUT_BYTES = 64 * 1024 * 1024;

function isAmongThese({ options, places }: Parsed): boolean {
  const isLocal = places.length >= 2 && places.every((place) => !/^[^/]*:/.test(place));
  return (
    isLocal &&
    !options.some((option) => /^--(?:server|daemon|version|read-batch|only-write-batch|rsh)|^-e/.test(option))
  );
}

/** Where in the snapshot a source lies, written so that it means the same there. */
function inSnapshot(source: string, isRelative: boolean): string {
  const named = source.startsWith("/") ? source : `${process.cwd()}${isRelative ? "/./" : "/"}${source}`;
  const absolute = isRelative ? named : path.posix.normalize(named.replace(/\/\.$/, "/"));
  return isRelative && !absolute.includes("/./") ? `${HOST}:latest/.${absolute}` : `${HOST}:latest${absolute}`;
}

function fetch({ options, places }: Parsed): number {
  const sources = places.slice(0, -1);
  const there = sources.map((source) => path.resolve(source)).filter((source) => existsSync(source));
  if (there.length > 0) rsync([...ALL, "-e", SHELL, "-R", ...there, `${HOST}:`], true);
  const isRelative = options.some((option) => option === "--relative" || /^-[A-Za-z]*R/.test(option));
  const remote = sources.map((source) => inSnapshot(source, isRelative));
  return rsyncToFarSide([...options, "-e", SHELL, ...remote, places.at(-1) ?? ""]);
}

function push({ options, places }: Parsed): number {
  const target = places.at(-1) ?? "";
  const folder = `${HOST}:${path.resolve(target)}/`;
  const isFolder = existsSync(target) && statSync(target).isDirectory();
  if (isFolder && readdirSync(target).length > 0) rsync([...ALL, "-e", SHELL, `${target}/`, folder], true);
  const status = rsyncToFarSide([...options, "-e", SHELL, ...places.slice(0, -1), folder]);
  if (status !== 0 || options.some((option) => option === "--dry-run" || /^-[A-Za-z]*n/.test(option))) return status;
  const deletes = options.some((option) => /^--del(?:ete.*)?$/.test(option)) ? ["--delete"] : [];
  const latest = folder.replace(":", ":latest");
  return rsync([...ALL, ...deletes, "-e", SHELL, latest, `${target}/`], true);
}

const args = process.argv.slice(2);
const parsed = parse(args);
if (isAmongThese(parsed)) {
  appendFileSync(process.env.SUITE_COUNT ?? "/dev/null", "x");
  process.exitCode = MODE === "fetch" ? fetch(parsed) : push(parsed);
} else {
  process.exitCode = rsync(args, false);
}
