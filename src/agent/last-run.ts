/** What an agent keeps of its last run, for `agent status` and for when the server cannot be asked. */
import { readFileSync } from "node:fs";
import { writeFileDurably } from "../fleet/write-file.ts";
import { agentFile } from "./state.ts";

export interface LastRun {
  readonly startedMs: number;
  readonly endedMs: number;
  readonly snapshot: string | undefined;
  readonly error: string | undefined;
  /** When the last run began that made a snapshot. */
  readonly savedMs?: number | undefined;
}

/** Undefined where there was none, or what was kept of it is not whole. */
export function readLastRun(folder: string): LastRun | undefined {
  try {
    const last = JSON.parse(readFileSync(agentFile.lastRun(folder), "utf8")) as LastRun;
    return typeof last.startedMs === "number" ? last : undefined;
  } catch {
    return undefined;
  }
}

export function keepLastRun(folder: string, last: Omit<LastRun, "savedMs">): void {
  const savedMs = last.snapshot === undefined ? readLastRun(folder)?.savedMs : last.startedMs;
  writeFileDurably(agentFile.lastRun(folder), `${JSON.stringify({ ...last, savedMs })}\n`);
}
