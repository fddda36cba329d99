import { setTimeout as wait } from "node:timers/promises";
import type { LogLine, Run } from "../../fleet/runs.ts";
import { UsageError } from "../../errors.ts";
import { apiPath, type ApiClient } from "../../server/api-client.ts";
import type { Context } from "../context.ts";
import { formatTime } from "../output/format-time.ts";
import type { Output } from "../output/output.ts";

const FOLLOW_EVERY_MS = 1000;

export function printLine(output: Output, { atMs, level, message }: LogLine): void {
  output.line(`${formatTime(atMs)}  ${level === "info" ? "" : `${level}: `}${message}`);
}

/** Prints a run's log until it ends. `name` is its number, or that of a host for the host's last run. */
export async function followRun({ output, signal }: Context, server: ApiClient, name: string): Promise<number> {
  const id = /^\d+$/.test(name) ? name : await lastRunOf(server, name);
  let isWaiting = false;
  for (let after = 0; ;) {
    const { run, log } = await server.call<{ run: Run; log: LogLine[] }>("GET", apiPath(["runs", id], { after }));
    if (run.state === "waiting" && !isWaiting) output.note(`run ${id} waits until ${run.host} comes for it`);
    isWaiting = run.state === "waiting";
    for (const line of log) {
      if (output.json) output.jsonLine(line);
      else printLine(output, line);
      after = line.id;
    }
    if (run.state !== "running" && run.state !== "waiting" && log.length === 0) {
      if (output.json) output.jsonLine(run);
      output.note(`the run ended: ${run.state}${run.error === null ? "" : `: ${run.error}`}`);
      return run.state === "succeeded" ? 0 : RUN_EXIT_CODES[run.state];
    }
    await wait(FOLLOW_EVERY_MS, undefined, { signal });
  }
}

/** As the backup itself would have ended. */
const RUN_EXIT_CODES = { incomplete: 3, failed: 1, refused: 1 } as const;

async function lastRunOf(server: ApiClient, host: string): Promise<string> {
  await server.call("GET", apiPath(["hosts", host]));
  const [last] = await server.call<Run[]>("GET", apiPath(["runs"], { host, limit: 1 }));
  if (last !== undefined) return String(last.id);
  throw new UsageError(`the host "${host}" has had no run yet`, { hint: `ask for one: holdfast host run ${host}` });
}
