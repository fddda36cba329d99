import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../errors.ts";
import { flag, list, optionName, value, valueOr, type CommandSpec } from "./command-spec.ts";
import { commandTable, commandGroups } from "./commands/table.ts";
import { loadEntries } from "./listed-command.ts";
import { globalOptions } from "./global-options.ts";
import { wholeNumber } from "./option-values.ts";
import { parseArguments, type ParsedCommand } from "./program.ts";

const spec = {
  name: "work",
  summary: "do some work",
  arguments: [{ name: "[what...]", summary: "what to do" }],
  options: {
    dryRun: flag("-n, --dry-run", "only show"),
    exclude: list("-e, --exclude <pattern>", "leave out"),
    count: value("--count <n>", "how many", wholeNumber, { environment: "HOLDFAST_COUNT" }),
    mode: valueOr("auto", "--mode <mode>", "how", (text) => text),
  },
  examples: [{ command: "holdfast work", does: "works" }],
} satisfies CommandSpec;

function parse(argv: readonly string[], environment: NodeJS.ProcessEnv = {}): ParsedCommand {
  const printed: string[] = [];
  const parsed = parseArguments(argv, {
    commands: [
      { spec, load: () => Promise.reject(new Error("not to be loaded")) },
      { spec: { ...spec, name: "key add" }, load: () => Promise.reject(new Error("not to be loaded")) },
    ],
    groups: [{ name: "key", summary: "keys" }],
    version: "1.2.3",
    environment,
    print: (text) => printed.push(text),
  });
  if (typeof parsed === "number") throw Object.assign(new Error(printed.join("")), { exitCode: parsed });
  return parsed;
}

test("takes options of all commands before and after the command's name", () => {
  const before = parse(["-r", "/a", "--json", "work"]);
  const after = parse(["work", "-r", "/a", "--json"]);
  assert.deepEqual(before.settings, after.settings);
  assert.equal(after.settings.repo, "/a");
  assert.equal(after.settings.json, true);
  assert.equal(after.settings.cache, true);
  assert.equal(parse(["work", "--no-cache"]).settings.cache, false);
});

test("gathers what may be given several times, and counts -v", () => {
  const { options, settings, args } = parse(["work", "a", "-e", "x", "b", "--exclude=y", "-vv", "--verbose"]);
  assert.deepEqual(options.exclude, ["x", "y"]);
  assert.deepEqual(args, ["a", "b"]);
  assert.equal(settings.verbose, 3);
  assert.equal(parse(["work", "--verbose=2"]).settings.verbose, 2);
});

test("what follows -- is no option", () => {
  const { options, args } = parse(["work", "-n", "--", "pg_dump", "-e", "--verbose=2"]);
  assert.deepEqual(args, ["pg_dump", "-e", "--verbose=2"]);
  assert.equal(options.dryRun, true);
  assert.deepEqual(options.exclude, []);
});

test("an option that is not given comes from its variable, and else is what the spec says", () => {
  assert.equal(parse(["work"], { HOLDFAST_COUNT: "3" }).options.count, 3);
  assert.equal(parse(["work", "--count", "4"], { HOLDFAST_COUNT: "3" }).options.count, 4);
  assert.equal(parse(["work"], { HOLDFAST_COUNT: "" }).options.count, undefined);
  assert.equal(parse(["work"]).options.mode, "auto");
});

for (const [name, argv, expected] of [
  ["an unknown option, with the one that was meant", ["work", "--exclud", "x"], /unknown option '--exclud'.*--exclude/],
  [
    "a command that only restic has, with what to do",
    ["mount", "/mnt"],
    /unknown command 'mount'.*restore SNAPSHOT:PATH/,
  ],
  [
    "an option that only restic has, with what to do",
    ["work", "--no-lock"],
    /unknown option '--no-lock'.*leave it away/,
  ],
  ["an unknown command, with the one that was meant", ["wrok"], /unknown command 'wrok'.*work/],
  ["an unknown command of a group", ["key", "ad"], /unknown command 'ad'.*add/],
  [
    "a value that makes no sense, naming its option",
    ["work", "--count", "many"],
    /--count: "many" is not a whole number/,
  ],
  ["a missing value", ["work", "--count"], /'--count <n>' argument missing/],
] as const) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => parse(argv),
      (error) => error instanceof UsageError && expected.test(`${error.message} ${error.hint}`),
    );
  });
}

test("names the variable where it is that which makes no sense", () => {
  assert.throws(() => parse(["work"], { HOLDFAST_COUNT: "many" }), /HOLDFAST_COUNT: "many"/);
});

for (const argv of [["--version"], ["--help"], ["work", "--help"], ["help", "work"]]) {
  test(`${argv.join(" ")} prints and ends with 0`, () => {
    assert.throws(() => parse(argv), {
      exitCode: 0,
      message: argv[0] === "--version" ? /^holdfast 1\.2\.3/ : /Usage: holdfast/,
    });
  });
}

for (const argv of [[], ["key"]]) {
  test(`"holdfast ${argv.join(" ")}" prints help and ends with 1, because a command is missing`, () => {
    assert.throws(() => parse(argv), { exitCode: 1, message: /Commands:/ });
  });
}

const entries = await loadEntries(commandTable);

test("the table knows each command by its name", () => {
  assert.deepEqual(
    commandTable.map(({ name }) => name),
    entries.map(({ spec: { name } }) => name),
  );
});

for (const { spec: real } of entries) {
  test(`${real.name}: each option arrives under the name of its long flag, and none is one of all commands`, () => {
    const global = Object.values(globalOptions).flatMap(({ flags }) => flagsOf(flags));
    for (const [name, { flags }] of Object.entries(real.options)) {
      assert.equal(optionName(flags), name);
      for (const one of flagsOf(flags)) assert.ok(!global.includes(one), `${one} is an option of all commands`);
    }
    const own = Object.values(real.options).flatMap(({ flags }) => flagsOf(flags));
    assert.equal(new Set(own).size, own.length);
    assert.ok(real.examples.length > 0);
    const parents = [...commandGroups, ...entries.map((entry) => entry.spec)];
    assert.ok(real.name.split(" ").length === 1 || parents.some(({ name }) => real.name.startsWith(`${name} `)));
  });
}

function flagsOf(flags: string): string[] {
  return Array.from(flags.matchAll(/(?<!\S)--?[a-zA-Z0-9-]+/g), (match) => match[0]);
}
