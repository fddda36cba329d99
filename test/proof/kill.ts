/**
 * The real command on the real disc, killed at random moments and started again: a backup stores nothing twice, a prune
 * loses nothing, a restore goes on from where it was.
 *
 *     npm run proof:kill -- [--seconds 60] [--megabytes 192] [--seed 1]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { seededRandom } from "../../src/storage/testing/random.ts";
import type { SeededRandom } from "../../src/storage/testing/random.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { assertSameTree } from "../support/compare-trees.ts";
import { checkoutFolder, newHoldfast } from "../support/holdfast.ts";
import type { Holdfast } from "../support/holdfast.ts";
import { runOk } from "../support/run-command.ts";
import { withTemporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 1024 * 1024;
/** Larger than a pack, smaller than many, and some that are cut into pieces. */
const FILE_SIZES = [200 * 1024, MEBIBYTE, 5 * MEBIBYTE, 700 * 1024];

export interface KillOptions {
  readonly megabytes: number;
  readonly kills: number;
}

/** A backup that is killed again and again before it is let through. Fails if anything is stored twice, or missing. */
export async function killedBackup(seed: number, options: KillOptions): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    const random = seededRandom(seed);
    const holdfast = await holdfastIn(folder);
    const source = path.join(folder, "source");
    const sourceBytes = makeSource(source, seed, options.megabytes);
    const unhinderedMs = 400 + (options.megabytes * 1000) / 100;
    for (let kill = 0; kill < options.kills; kill++) {
      await killedAfter(holdfast, ["backup", source], 150 + random.below(unhinderedMs));
    }
    await holdfast.ok(["backup", source]);
    const storedBytes = await bytesBelow(path.join(holdfast.repository, "packs"));
    // Random bytes do not shrink; seals and directories add less than one in a hundred.
    if (storedBytes > sourceBytes * 1.01 + MEBIBYTE) {
      throw new Error(`${storedBytes} bytes are stored of ${sourceBytes}: something was stored again`);
    }
    await assertSound(holdfast, source, path.join(folder, "restored"));
  });
}

/** Prunes that are killed, until one gets through. Fails if what is left can't be read, or if space is not freed. */
export async function killedPrune(seed: number, options: KillOptions): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    const random = seededRandom(seed);
    const holdfast = await holdfastIn(folder);
    const [keep, drop] = ["keep", "drop"].map((name) => path.join(folder, name));
    const keptBytes = makeSource(keep, seed, options.megabytes / 2);
    makeSource(drop, seed + 1, options.megabytes / 2);
    // Saved together, so that packs hold some of both, and have to be written anew.
    await holdfast.ok(["backup", keep, drop]);
    await holdfast.ok(["backup", keep]);
    await holdfast.ok(["forget", "--path", drop, "--unsafe-allow-remove-all"]);
    for (let kill = 0; kill < options.kills; kill++) {
      await killedAfter(holdfast, ["prune", "--max-unused", "0"], 100 + random.below(600));
    }
    await holdfast.ok(["prune", "--max-unused", "0"]);
    await holdfast.ok(["prune", "--max-unused", "0"]);
    await assertSound(holdfast, keep, path.join(folder, "restored"));
    const storedBytes = await bytesBelow(path.join(holdfast.repository, "packs"));
    if (storedBytes > keptBytes * 1.01) {
      throw new Error(`${storedBytes} bytes are left for ${keptBytes} that are needed`);
    }
  });
}

/** Restores that are killed, until one gets through. */
export async function killedRestore(seed: number, options: KillOptions): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    const random = seededRandom(seed);
    const holdfast = await holdfastIn(folder);
    const source = path.join(folder, "source");
    makeSource(source, seed, options.megabytes);
    await holdfast.ok(["backup", source]);
    const target = path.join(folder, "restored");
    for (let kill = 0; kill < options.kills; kill++) {
      await killedAfter(holdfast, ["restore", `latest:${source}`, "--target", target], 150 + random.below(700));
    }
    await holdfast.ok(["restore", `latest:${source}`, "--target", target]);
    await assertSameTree(source, target);
  });
}

async function assertSound(holdfast: Holdfast, source: string, target: string): Promise<void> {
  await holdfast.ok(["check", "--read-data"]);
  await holdfast.ok(["restore", `latest:${source}`, "--target", target]);
  await assertSameTree(source, target);
}

function holdfastIn(folder: string): Promise<Holdfast> {
  return newHoldfast({ after: () => undefined }, { place: folder });
}

/** Files of random bytes in some folders. Gives their size together. */
function makeSource(folder: string, seed: number, megabytes: number): number {
  let bytes = 0;
  for (let number = 0; bytes < megabytes * MEBIBYTE; number++) {
    const inner = path.join(folder, `folder-${number % 7}`);
    mkdirSync(inner, { recursive: true });
    const content = scrambledBytes(`${seed} ${number}`, FILE_SIZES[number % FILE_SIZES.length]);
    writeFileSync(path.join(inner, `file-${number}`), content);
    bytes += content.length;
  }
  return bytes;
}

/** Starts a command, and takes it away without a warning. */
async function killedAfter(holdfast: Holdfast, args: readonly string[], ms: number): Promise<void> {
  const child = spawn(path.join(checkoutFolder, "bin/holdfast"), args, {
    env: { ...process.env, ...holdfast.env },
    stdio: "ignore",
  });
  const ended = once(child, "exit");
  await Promise.race([ended, sleep(ms)]);
  child.kill("SIGKILL");
  await ended;
}

async function bytesBelow(folder: string): Promise<number> {
  return Number.parseInt(await runOk("du", ["-sb", "--apparent-size", folder]), 10);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      megabytes: { type: "string", default: "192" },
      seed: { type: "string", default: String(Date.now() % 1e6) },
    },
  });
  const endMs = performance.now() + Number(values.seconds) * 1000;
  const random: SeededRandom = seededRandom(Number(values.seed));
  const options = { megabytes: Number(values.megabytes), kills: 4 };
  let rounds = 0;
  while (performance.now() < endMs) {
    for (const proof of [killedBackup, killedPrune, killedRestore]) await proof(random.below(1e9), options);
    rounds++;
  }
  process.stdout.write(
    `${rounds} backups, prunes and restores, each killed ${options.kills} times: nothing lost or twice\n`,
  );
}
