import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { newRepository, readEverything, saveFolder } from "../../test/support/library-repository.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { PREFIXES } from "../format/names.ts";
import { memoryStorage } from "../storage/memory.ts";
import { checkRepository, type CheckProblem } from "./check.ts";
import { prune } from "./prune.ts";
import type { Repository } from "./repository.ts";
import { listSnapshots } from "./snapshots.ts";

async function errorsOf({ storage, config, ring }: Repository): Promise<CheckProblem[]> {
  const problems: CheckProblem[] = [];
  await checkRepository({ storage, config, ring, onProblem: (problem) => problems.push(problem) });
  return problems.filter(({ severity }) => severity === "error");
}

test("two backups at once store the same content, each for itself: check finds nothing wrong, and prune takes neither's", async (t) => {
  const folder = temporaryFolder(t);
  for (const name of ["a", "b"]) writeFileSync(path.join(folder, name), randomBytes(300_000));
  const repository = await newRepository(memoryStorage());
  const ids = await Promise.all([saveFolder(repository, folder), saveFolder(repository, folder, new Date(1e12))]);
  assert.deepEqual(await errorsOf(repository), []);
  for (const id of ids) {
    await repository.storage.delete(PREFIXES.snapshot + id);
    await prune(repository, { maxUnusedRatio: 0 });
    assert.deepEqual(await errorsOf(repository), []);
    assert.equal((await readEverything(repository)).size, (await listSnapshots(repository)).length);
  }
});
