import { setImmediate as breathe } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import type { Database } from "../fleet/database/open.ts";
import { trimHistory, type HistoryLimits } from "../fleet/runs.ts";
import type { Log } from "./log.ts";

const DAY_MS = 86_400_000;

/** Trims the history of runs and jobs once a day; to be called every now and then. Never rejects. */
export function createHistoryTrimmer(
  database: Database,
  limits: HistoryLimits,
  nowMs: () => number,
  log: Log,
): () => Promise<void> {
  let lastMs = -Infinity;
  return async () => {
    if (nowMs() - lastMs < DAY_MS) return;
    lastMs = nowMs();
    try {
      let trimmed = 0;
      for (let some = -1; some !== 0; trimmed += some) {
        some = await trimHistory(database, limits, nowMs());
        // Hosts are served in between.
        await breathe();
      }
      if (trimmed > 0) log("info", "the history was trimmed", { runsAndJobs: trimmed });
    } catch (error) {
      log("error", `the history could not be trimmed: ${messageOf(error)}`);
    }
  };
}
