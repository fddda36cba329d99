import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Cleanup } from "../support/at-end.ts";
import { COMPILED, holdfast, makeCheapRepository } from "../support/holdfast.ts";
import type { CommandOptions, CommandResult } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

/** A person's place to work: a home, a few files, and a repository that is not made yet. */
export interface Workplace {
  readonly folder: string;
  /** `a.txt`, `sub/b.txt`, `sub/large`, `empty/`, and a link. */
  readonly source: string;
  readonly repository: string;
  readonly env: Readonly<Record<string, string>>;
  /** Makes the repository, as `init` would. */
  makeRepository(): Promise<void>;
  /** Runs a command and gives how it ended. */
  run(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** Runs a command that must end with 0, and gives its output. */
  ok(args: readonly string[], options?: CommandOptions): Promise<string>;
  /** As `ok`, with `--json`: one value a line. */
  // oxlint-disable-next-line typescript/no-explicit-any
  json(args: readonly string[]): Promise<any[]>;
}

export const PASSWORD = "correct horse";

export function workplace(t: Cleanup): Workplace {
  const folder = temporaryFolder(t);
  const source = path.join(folder, "source");
  const repository = path.join(folder, "repository");
  mkdirSync(path.join(source, "sub"), { recursive: true });
  mkdirSync(path.join(source, "empty"));
  writeFileSync(path.join(source, "a.txt"), "first\n");
  writeFileSync(path.join(source, "sub/b.txt"), "second\n");
  writeFileSync(path.join(source, "sub/large"), Buffer.alloc(3_000_000, "0123456789abcdef!"));
  const env = {
    HOME: folder,
    TZ: "UTC",
    HOLDFAST_REPOSITORY: repository,
    HOLDFAST_PASSWORD: PASSWORD,
    NODE_COMPILE_CACHE: COMPILED,
  };
  const run: Workplace["run"] = (args, options = {}) => holdfast(args, { ...options, env: { ...env, ...options.env } });
  const ok: Workplace["ok"] = async (args, options) => {
    const result = await run(args, options);
    if (result.status === 0) return result.stdout;
    throw new Error(`holdfast ${args.join(" ")}: exit code ${result.status}\n${result.stderr}${result.stdout}`);
  };
  return {
    folder,
    source,
    repository,
    env,
    makeRepository: () => makeCheapRepository(repository, PASSWORD),
    run,
    ok,
    json: async (args) => {
      const lines = (await ok([...args, "--json"])).split("\n").filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as unknown);
    },
  };
}
