/** How long questions take of a server with 200 hosts and 100,000 snapshots: `node bench/catalogue.ts`. */
import { recordAccount } from "../src/fleet/accounts.ts";
import { listCatalogue } from "../src/fleet/catalogue.ts";
import { dataFile } from "../src/fleet/data-folder.ts";
import { openDatabase } from "../src/fleet/database/open.ts";
import { fleetStatus } from "../src/fleet/health.ts";
import { addHost } from "../src/fleet/hosts.ts";
import { DEFAULT_POLICY, savePolicy } from "../src/fleet/policies.ts";
import { withTemporaryFolder } from "../test/support/temporary-folder.ts";

const HOSTS = 200;
const DAYS = 500;
const DAY_MS = 86_400_000;
const TIMES = 7;

await withTemporaryFolder(async (folder) => {
  const { database } = openDatabase(dataFile.database(folder), 0);
  await recordAccount(database, { name: "default", storageUrl: folder, keyMode: "server", quota: {}, createdMs: 0 });
  await savePolicy(database, "default", DEFAULT_POLICY);
  const names = Array.from({ length: HOSTS }, (_, number) => `host${number}`);
  for (const name of names) {
    await addHost(database, { name, account: "default", policy: "default", keyMode: "full", quota: {} }, 0);
  }
  await database.transaction().execute(async (transaction) => {
    for (let day = 0; day < DAYS; day++) {
      const ids = names.map((name) => Buffer.from(`${day}/${name}`).toString("hex").padEnd(64, "0"));
      const sums = { files: 1, size_bytes: 1, added_bytes: 1, stored_bytes: 1, complete: 1, verified_ms: null };
      const snapshots = names.map((host, number) => ({
        id: ids[number],
        account_id: 1,
        host,
        time_ms: day * DAY_MS,
        group_id: "0".repeat(32),
        signer: "A".repeat(44),
        ...sums,
      }));
      const runs = ids.map((snapshot, number) => ({
        host_id: number + 1,
        started_ms: day * DAY_MS,
        state: "succeeded" as const,
        snapshot,
      }));
      await transaction.insertInto("snapshots").values(snapshots).execute();
      await transaction.insertInto("runs").values(runs).execute();
    }
  });
  const questions = {
    "status of all hosts": () => fleetStatus(database, { nowMs: DAYS * DAY_MS }),
    "snapshots of one host": () => listCatalogue(database, { host: "host7" }),
    "the last 1,000 snapshots": () => listCatalogue(database, { limit: 1000 }),
  };
  for (const [what, ask] of Object.entries(questions)) {
    const tookMs: number[] = [];
    for (let time = 0; time < TIMES; time++) {
      const startMs = performance.now();
      await ask();
      tookMs.push(performance.now() - startMs);
    }
    const sorted = tookMs.toSorted((a, b) => a - b);
    process.stdout.write(`${what}: first ${tookMs[0].toFixed(0)} ms, median ${sorted[TIMES >> 1].toFixed(0)} ms\n`);
  }
  await database.destroy();
});
