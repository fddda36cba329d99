/**
 * Makes a repository with many snapshots of one folder, in which some files change from each to the next. In one
 * process: `node bench/make-history.ts PLACE SOURCE COUNT`, for the benchmarks of what depends on their number.
 */
import { appendFileSync, globSync } from "node:fs";
import path from "node:path";
import { backupToRepository } from "../src/backup/backup-to-repository.ts";
import { generateSigningKey } from "../src/crypto/signing.ts";
import { rawPathFromText } from "../src/platform/raw-path.ts";
import { openRepository } from "../src/repository/repository.ts";
import { openLocalSource } from "../src/source/local/local-source.ts";
import { openLocalStorage } from "../src/storage/local.ts";
import { seededRandom } from "../src/storage/testing/random.ts";
import { PASSWORD } from "./contenders.ts";

const CHANGES_EACH = 20;
const DAY_MS = 24 * 60 * 60 * 1000;

const [place, source, count] = process.argv.slice(2);
const storage = await openLocalStorage(path.join(place, "repository"));
const repository = await openRepository(storage, { passphrase: PASSWORD });
const signingKey = generateSigningKey();
const random = seededRandom(1);
const files = globSync("**/*.c", { cwd: source });
const paths = [rawPathFromText(source)];
for (let number = 0; number < Number(count); number++) {
  for (let changes = 0; changes < CHANGES_EACH; changes++) {
    appendFileSync(path.join(source, random.pick(files)), `/* changed for snapshot ${number} */\n`);
  }
  const onProblem = ({ error }: { readonly error: unknown }): never => {
    throw error;
  };
  const local = openLocalSource({ paths, onProblem });
  await backupToRepository({
    repository,
    source: local,
    paths,
    host: "bench",
    tags: [],
    user: "",
    program: "bench",
    excludes: [],
    signingKey,
    compression: "auto",
    // A day apart, up to now.
    startedMs: Date.now() - (Number(count) - number) * DAY_MS,
    cacheDirectory: path.join(place, "cache"),
    onProblem,
  });
  await local.close();
}
await storage.close();
