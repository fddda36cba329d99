import { chmodSync, mkdirSync } from "node:fs";
import path from "node:path";
import { createRepository } from "../../src/repository/repository.ts";
import { createStorage } from "../../src/storage/open.ts";
import type { Cleanup } from "./at-end.ts";
import { atEnd } from "./at-end.ts";
import { isRoot } from "./requirements.ts";
import { run, runOk } from "./run-command.ts";
import type { CommandOptions, CommandResult } from "./run-command.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** Top of the checkout. */
export const checkoutFolder = path.resolve(import.meta.dirname, "../..");

/** Runs `bin/holdfast` as a person would, without what the tests' own environment says of repositories. */
export function holdfast(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runProgram(path.join(checkoutFolder, "bin/holdfast"), args, options);
}

/** Runs a command that must end with 0, and gives its output. Throws with what it said otherwise. */
export async function holdfastOk(args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return outputOf(await holdfast(args, options), args);
}

function outputOf(result: CommandResult, args: readonly string[]): string {
  if (result.status === 0) return result.stdout;
  throw new Error(`holdfast ${args.join(" ")}: exit code ${result.status}\n${result.stderr}${result.stdout}`);
}

function runProgram(program: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const env = { HOLDFAST_REPOSITORY: undefined, HOLDFAST_PASSWORD: undefined, NODE_COMPILE_CACHE: COMPILED };
  return run(program, args, { ...options, env: { ...env, ...options.env } });
}

/** Else each test would compile everything anew. `scripts/test` names the same. */
export const COMPILED = path.join(checkoutFolder, "node_modules/.cache/holdfast-tests");

/** The command on one repository, as a person would run it, with a cache of its own. */
export interface Holdfast {
  /** The repository's folder. */
  readonly repository: string;
  /** What tells the command of repository, password and cache. */
  readonly env: Readonly<Record<string, string | undefined>>;
  run(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** Must end with 0; gives its output. Throws with what it said otherwise. */
  ok(args: readonly string[], options?: CommandOptions): Promise<string>;
}

export interface HoldfastOptions {
  /** Where repository and cache are made: a new temporary folder, if not given. */
  readonly place?: string;
  /** Runs the command as another user, with nothing that only root may do. Where the tests are not root, they are that. */
  readonly asNormalUser?: boolean;
}

/** The user that stands for any normal user, where tests run as root. */
const NORMAL_USER_ID = 54_321;

/** A new repository, and the command that works on it. */
export async function newHoldfast(t: Cleanup, options: HoldfastOptions = {}): Promise<Holdfast> {
  const place = options.place ?? temporaryFolder(t);
  const repository = path.join(place, "repository");
  const env = {
    HOLDFAST_REPOSITORY: repository,
    HOLDFAST_PASSWORD: "correct horse battery staple",
    HOLDFAST_CACHE_DIR: path.join(place, "cache"),
  };
  const changesUser = options.asNormalUser === true && isRoot;
  const program = changesUser ? await reachableProgram(t) : path.join(checkoutFolder, "bin/holdfast");
  const user = changesUser ? { uid: NORMAL_USER_ID, gid: NORMAL_USER_ID } : {};
  if (changesUser) chmodSync(place, 0o777);
  const command: Holdfast = {
    repository,
    env,
    run: (args, more = {}) => runProgram(program, args, { ...user, ...more, env: { ...env, ...more.env } }),
    ok: async (args, more) => outputOf(await command.run(args, more), args),
  };
  if (changesUser) await command.ok(["init"]);
  else await makeCheapRepository(repository, env.HOLDFAST_PASSWORD);
  return command;
}

/** As `init` does it, but the password opens it at once: tests open repositories by thousands of commands. */
export async function makeCheapRepository(folder: string, passphrase: string): Promise<void> {
  const storage = await createStorage(folder);
  await createRepository(storage, { passphrase, label: "", workFactorLog2: 1, now: new Date() });
  await storage.close();
}

/** Any program as the same normal user, for what belongs to it. */
export function asNormalUser(): CommandOptions {
  return isRoot ? { uid: NORMAL_USER_ID, gid: NORMAL_USER_ID } : {};
}

/** The command under a path that everybody may go through: the checkout may lie in root's own folder. */
async function reachableProgram(t: Cleanup): Promise<string> {
  const folder = temporaryFolder(t, "holdfast-checkout-");
  chmodSync(folder, 0o755);
  const mountPoint = path.join(folder, "checkout");
  mkdirSync(mountPoint);
  await runOk("mount", ["--bind", checkoutFolder, mountPoint]);
  atEnd(t, async () => {
    await runOk("umount", ["--lazy", mountPoint]);
  });
  return path.join(mountPoint, "bin/holdfast");
}
