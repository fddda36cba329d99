import type { LogLine, Run } from "../../fleet/runs.ts";
import { UsageError } from "../../errors.ts";
import { apiPath } from "../../server/api-client.ts";
import type { MaintenanceRun } from "../../server/maintenance-jobs.ts";
import type { Invocation } from "../command-spec.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatDuration, formatTime } from "../output/format-time.ts";
import { truncate } from "../output/live-lines.ts";
import { formatTable } from "../output/table.ts";
import { serverOf } from "../server-access.ts";
import { only } from "./fleet-options.ts";
import { followRun, printLine } from "./follow-run.ts";
import type { maintainSpec, runsAcceptSpec, runsFollowSpec, runsListSpec, runsShowSpec } from "./server.spec.ts";

/** Of what went wrong; the whole of it `runs show` tells. */
const MESSAGE_COLUMNS = 60;

export function runTable(runs: readonly Run[]): string[] {
  return formatTable(
    [
      { title: "Run", align: "right", cell: ({ id }) => String(id) },
      { title: "Host", cell: ({ host }) => host },
      { title: "Began", cell: ({ startedMs }) => formatTime(startedMs) },
      { title: "Took", align: "right", cell: took },
      { title: "State", cell: stateOf },
      { title: "Files", align: "right", cell: ({ files }) => String(files) },
      { title: "Size", align: "right", cell: ({ sizeBytes }) => formatBytes(sizeBytes) },
      { title: "Stored", align: "right", cell: ({ storedBytes }) => formatBytes(storedBytes) },
      {
        title: "Snapshot",
        cell: ({ snapshot, error }) => snapshot?.slice(0, 8) ?? truncate(error ?? "", MESSAGE_COLUMNS),
      },
    ],
    runs,
  );
}

function stateOf({ state, suddenGrowth, accepted }: Run): string {
  if (!suddenGrowth) return state;
  return `${state}, sudden growth${accepted ? " (accepted)" : ""}`;
}

function took({ startedMs, endedMs }: { readonly startedMs: number; readonly endedMs: number | null }): string {
  return endedMs === null ? "…" : formatDuration(endedMs - startedMs);
}

export const list = {
  async run({ context: { output }, options }: Invocation<typeof runsListSpec.options>): Promise<number> {
    const { host, state, limit, maintenance } = options;
    const server = serverOf(options);
    if (maintenance) {
      const jobs = await server.call<MaintenanceRun[]>("GET", apiPath(["maintenance"], { limit }));
      if (output.json) output.jsonLine(jobs);
      else for (const line of maintenanceTable(jobs)) output.line(line);
      return 0;
    }
    const runs = await server.call<Run[]>("GET", apiPath(["runs"], { host, state, limit }));
    if (output.json) output.jsonLine(runs);
    else for (const line of runTable(runs)) output.line(line);
    return 0;
  },
};

function maintenanceTable(jobs: readonly MaintenanceRun[]): string[] {
  return formatTable(
    [
      { title: "Job", cell: ({ kind }) => kind },
      { title: "Account", cell: ({ account }) => account },
      { title: "Host", cell: ({ host }) => host ?? "" },
      { title: "Began", cell: ({ startedMs }) => formatTime(startedMs) },
      { title: "Took", align: "right", cell: took },
      { title: "State", cell: ({ state }) => state },
      { title: "", cell: ({ error }) => error ?? "" },
    ],
    jobs,
  );
}

export const show = {
  async run({ context: { output }, args, options }: Invocation<typeof runsShowSpec.options>): Promise<number> {
    const answer = await serverOf(options).call<{ run: Run; log: LogLine[] }>(
      "GET",
      apiPath(["runs", only(args, "run")]),
    );
    if (output.json) output.jsonLine(answer);
    else {
      for (const line of runTable([answer.run])) output.line(line);
      if (answer.run.error !== null) output.line(`error: ${answer.run.error}`);
      for (const line of answer.log) printLine(output, line);
    }
    return 0;
  },
};

export const follow = {
  run({ context, args, options }: Invocation<typeof runsFollowSpec.options>): Promise<number> {
    return followRun(context, serverOf(options), only(args, "run"));
  },
};

export const accept = {
  async run({ context: { output }, args, options }: Invocation<typeof runsAcceptSpec.options>): Promise<number> {
    const name = only(args, "run");
    await serverOf(options).call("POST", apiPath(["runs", name, "accept"]));
    if (output.json) output.jsonLine({ message_type: "accepted", run: name });
    output.note(`the size of run ${name} is usual from now on`);
    return 0;
  },
};

export const start = {
  async run({ context: { output }, args, options }: Invocation<typeof maintainSpec.options>): Promise<number> {
    const kind = only(args, "job");
    if (kind === "drill" && options.host.length !== 1) {
      throw new UsageError("a drill is of one host", { hint: "name it: --host NAME" });
    }
    const account = options.account ?? "default";
    const job =
      kind === "drill"
        ? { kind, account, host: only(options.host, "host") }
        : kind === "check"
          ? { kind, account, part: 1, of: 1 }
          : { kind, account };
    if (!["drill", "check", "retention"].includes(kind)) {
      throw new UsageError(`"${kind}" is no job`, { hint: "name retention, check or drill" });
    }
    await serverOf(options).call("POST", "/v1/maintenance", job);
    if (output.json) output.jsonLine({ message_type: "started", ...job });
    output.note('the server does it now; see "holdfast runs list --maintenance"');
    return 0;
  },
};
