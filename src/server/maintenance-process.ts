/** A process of its own for one maintenance job, told on standard input; what comes of it is in the database. */
import { setPriority } from "node:os";
import { text } from "node:stream/consumers";
import { dataFile } from "../fleet/data-folder.ts";
import { findAccount } from "../fleet/accounts.ts";
import { openBesideServer } from "../fleet/database/open.ts";
import { JOB_FAILED, runJob, type MaintenanceJob } from "./maintenance-jobs.ts";
import { leaveAtEnd } from "../platform/leave.ts";

export interface ToldJob {
  readonly dataFolder: string;
  readonly job: MaintenanceJob;
}

if (import.meta.main) {
  leaveAtEnd();
  // Backups come first.
  setPriority(19);
  const { dataFolder, job } = JSON.parse(await text(process.stdin)) as ToldJob;
  const stopping = new AbortController();
  process.once("SIGTERM", () => stopping.abort(new Error("the server was stopped")));
  const database = openBesideServer(dataFile.database(dataFolder));
  const account = await findAccount(database, job.account);
  const context = { database, dataFolder, nowMs: Date.now, signal: stopping.signal };
  const { state } = await runJob(context, account, job);
  await database.destroy();
  process.exitCode = state === "succeeded" ? 0 : JOB_FAILED;
}
