/**
 * Runs rsync's own tests with Holdfast as the far side: `npm run proof:rsync-suite -- --help`. The tests are fetched from
 * Debian's source package when this is run; docs/rsync-suite.md says which concern us and why others do not.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { makeCheapRepository } from "../../support/holdfast.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { EXPECTED } from "./suite-expected.ts";

const HELP = `npm run proof:rsync-suite [-- OPTION…]

  --only NAME        only this test of the suite; may be given again
  --mode MODE        only fetch or push
  --rsync PROGRAM    the rsync that is the near side (rsync)
  --log              show what each test says
  --folder DIR       where the suite is kept (node_modules/.cache/rsync-suite)
`;

const CHECKOUT = path.join(import.meta.dirname, "../../..");
const PASSWORD = "correct horse battery staple";
const TEST_LIMIT_SECONDS = 300;
const SKIPPED = 77;

type Mode = "fetch" | "push";
type Outcome = "passes" | "fails" | "skips" | "not run by it";

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", default: false },
      only: { type: "string", multiple: true },
      mode: { type: "string", multiple: true },
      rsync: { type: "string", default: "rsync" },
      log: { type: "boolean", default: false },
      folder: { type: "string", default: path.join(CHECKOUT, "node_modules/.cache/rsync-suite") },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const needed = ["rsync:rsync", "gcc:gcc", "make:make", "setfacl:acl", "setfattr:attr", "diff:diffutils"];
  execFileSync(path.join(CHECKOUT, "scripts/need-commands"), needed, { stdio: "inherit" });
  const suite = fetchSuite(path.resolve(values.folder));
  const modes = (["fetch", "push"] as const).filter((mode) => values.mode?.includes(mode) ?? true);
  const names = readdirSync(path.join(suite, "testsuite"))
    .filter((name) => name.endsWith(".test"))
    .map((name) => name.slice(0, -".test".length))
    .filter((name) => values.only?.includes(name) ?? true);
  const surprises: string[] = [];
  for (const name of names) {
    const outcomes = [];
    for (const mode of modes) {
      const { outcome, log } = await runOne(suite, name, mode, values.rsync);
      const expected = EXPECTED[name]?.[mode] ?? "passes";
      const isExpected = outcome === expected.replace(/:.*/s, "");
      if (!isExpected) surprises.push(`${name} (${mode}): ${outcome}, and should be: ${expected}`);
      if (values.log) process.stdout.write(log);
      outcomes.push(`${mode} ${outcome}${isExpected ? "" : " !"}`);
    }
    process.stdout.write(`${name.padEnd(20)} ${outcomes.map((text) => text.padEnd(24)).join(" ")}\n`);
  }
  for (const surprise of surprises) process.stdout.write(`${surprise}\n`);
  process.exitCode = surprises.length > 0 ? 1 : 0;
}

/** Gets the newest source of rsync that Debian still has for this release, and builds the helpers of its tests. */
function fetchSuite(folder: string): string {
  const built = path.join(folder, "built");
  if (existsSync(built)) return readFileSync(built, "utf8");
  rmSync(folder, { recursive: true, force: true });
  for (const part of ["lists/partial", "cache/archives/partial", "source"]) {
    mkdirSync(path.join(folder, part), { recursive: true });
  }
  const release = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "stable";
  writeFileSync(path.join(folder, "sources.list"), `deb-src http://deb.debian.org/debian ${release} main\n`);
  const apt = [
    ["Dir::Etc::sourcelist", path.join(folder, "sources.list")],
    ["Dir::Etc::sourceparts", "-"],
    ["Dir::State::lists", path.join(folder, "lists")],
    ["Dir::Cache", path.join(folder, "cache")],
    ["APT::Sandbox::User", "root"],
  ].map(([name, value]) => `-o${name}=${value}`);
  const source = path.join(folder, "source");
  const quietly = (program: string, args: readonly string[], cwd: string): void => {
    const result = spawnSync(program, args, { cwd, encoding: "utf8" });
    if (result.status === 0) return;
    throw new Error(`${program} ${args.join(" ")} failed\n${result.error?.message ?? result.stderr.slice(-2000)}`);
  };
  process.stderr.write("Fetching rsync's source from Debian, and building what its tests need…\n");
  quietly("apt-get", [...apt, "update"], source);
  quietly("apt-get", [...apt, "source", "--download-only", "rsync"], source);
  const archive = readdirSync(source).find((name) => /\.orig\.tar\./.test(name));
  if (archive === undefined) throw new Error("there is no source archive of rsync");
  quietly("tar", ["-xf", archive], source);
  const unpacked = readdirSync(source, { withFileTypes: true }).find((entry) => entry.isDirectory());
  if (unpacked === undefined) throw new Error("the source archive of rsync holds no folder");
  const suite = path.join(source, unpacked.name);
  const without = ["md2man", "openssl", "xxhash", "zstd", "lz4", "iconv"].map((name) => `--disable-${name}`);
  quietly("./configure", [...without, "--with-included-popt", "--with-included-zlib"], suite);
  quietly("make", ["-s", "tls", "getgroups", "getfsdev", "trimslash", "t_unsafe", "wildtest"], suite);
  writeFileSync(built, suite);
  return suite;
}

/** One test, as the suite's `runtests.sh` would run it, on a repository of its own. */
async function runOne(
  suite: string,
  name: string,
  mode: Mode,
  realRsync: string,
): Promise<{ readonly outcome: Outcome; readonly log: string }> {
  const undone: (() => unknown)[] = [];
  try {
    const place = temporaryFolder({ after: (undo?: unknown) => void undone.push(undo as () => unknown) });
    const repository = path.join(place, "repository");
    await makeCheapRepository(repository, PASSWORD);
    const scratch = path.join(place, "scratch");
    mkdirSync(scratch);
    symlinkSync(suite, path.join(scratch, "src"));
    const script = (file: string, text: string): string => {
      writeFileSync(path.join(place, file), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
      return path.join(place, file);
    };
    const words = [process.execPath, path.join(import.meta.dirname, "door.ts"), repository, PASSWORD, place, "suite"];
    // A remote shell without a network: a host's name and a command.
    const shell = script(
      "shell",
      `shift\nSSH_ORIGINAL_COMMAND="$*" exec ${words.map((word) => `'${word}'`).join(" ")}`,
    );
    const standIn = path.join(import.meta.dirname, "suite-rsync.ts");
    const rsync = script("rsync", `exec '${process.execPath}' '${standIn}' "$@"`);
    const count = path.join(place, "count");
    const result = spawnSync("sh", ["-e", path.join(suite, "testsuite", `${name}.test`)], {
      cwd: suite,
      encoding: "utf8",
      timeout: TEST_LIMIT_SECONDS * 1000,
      killSignal: "SIGKILL",
      maxBuffer: 64 * 1024 * 1024,
      env: {
        ...process.env,
        POSIXLY_CORRECT: "1",
        TOOLDIR: suite,
        srcdir: suite,
        suitedir: path.join(suite, "testsuite"),
        scratchdir: scratch,
        RSYNC: rsync,
        TLS_ARGS: " -l -L",
        setfacl_nodef: "setfacl -k",
        SUITE_REAL_RSYNC: realRsync,
        SUITE_SHELL: shell,
        SUITE_MODE: mode,
        SUITE_COUNT: count,
      },
    });
    const log = `----- ${name} (${mode})\n${result.stdout}${result.stderr}-----\n`;
    if (result.status === SKIPPED) return { outcome: "skips", log };
    if (!existsSync(count)) return { outcome: "not run by it", log };
    return { outcome: result.status === 0 ? "passes" : "fails", log };
  } finally {
    for (const undo of undone) await undo();
  }
}

await main();
