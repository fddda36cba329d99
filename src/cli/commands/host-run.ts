import { ASK_EVERY_MS } from "../../fleet/next-run.ts";
import type { Run } from "../../fleet/runs.ts";
import { apiPath } from "../../server/api-client.ts";
import type { WantedRun } from "../../server/api-routes.ts";
import type { Invocation } from "../command-spec.ts";
import { formatTime } from "../output/format-time.ts";
import { serverOf } from "../server-access.ts";
import { only } from "./fleet-options.ts";
import { followRun } from "./follow-run.ts";
import type { hostRunSpec } from "./host.spec.ts";

const MINUTE_MS = 60_000;

export async function run(invocation: Invocation<typeof hostRunSpec.options>): Promise<number> {
  const { context, args, options } = invocation;
  const { output } = context;
  const name = only(args, "host");
  const server = serverOf(options);
  const path = apiPath(["hosts", name, "run"]);
  if (options.cancel) {
    await server.call("DELETE", path);
    if (output.json) output.jsonLine({ message_type: "cancelled", host: name });
    output.note(`no run of ${name} waits any more`);
    return 0;
  }
  const wanted = await server.call<WantedRun>("POST", path);
  if (output.json && !options.follow) output.jsonLine(wanted);
  for (const line of explain(wanted, Date.now())) output.note(line);
  return options.follow ? followRun(context, server, String(wanted.run.id)) : 0;
}

/** When it will begin, and what to do where that is not known. */
export function explain({ run: { id, state }, host }: WantedRun, nowMs: number): string[] {
  const { name, askedMs } = host;
  const follow = `follow it with: holdfast runs follow ${id}`;
  if (state !== "waiting") return [`run ${id} of ${name} ${begun(state)}; ${follow}`];
  if (host.pull !== undefined) return [`run ${id} of ${name} waits until another pull has ended; ${follow}`];
  const lines = [`run ${id} waits until ${name} comes for it, as the server does not call hosts; ${follow}`];
  if (askedMs !== undefined && nowMs - askedMs < 2 * ASK_EVERY_MS) {
    const byMs = Math.max(askedMs + ASK_EVERY_MS, nowMs) + 5 * MINUTE_MS;
    return [
      ...lines,
      `its agent asks every ${ASK_EVERY_MS / MINUTE_MS} minutes: it should begin by ${formatTime(byMs)}`,
    ];
  }
  const last = askedMs === undefined ? "has never asked" : `last asked ${formatTime(askedMs)}`;
  return [
    ...lines,
    `its agent ${last}: is its timer installed? "holdfast agent setup" there does that, "holdfast agent run" begins now`,
  ];
}

function begun(state: Run["state"]): string {
  return state === "running" ? "is under way" : `has ended: ${state}`;
}
