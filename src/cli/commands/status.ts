import type { FleetStatus, HostStatus } from "../../fleet/health.ts";
import type { Invocation } from "../command-spec.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatTable } from "../output/table.ts";
import { serverOf } from "../server-access.ts";
import { plural, timeOr } from "./fleet-options.ts";
import type { statusSpec } from "./server.spec.ts";

const NEEDS_ATTENTION = 3;

export async function run({ context, options }: Invocation<typeof statusSpec.options>): Promise<number> {
  const { output } = context;
  const status = await serverOf(options).call<FleetStatus>("GET", "/v1/status");
  const exitCode = status.health === "ok" ? 0 : NEEDS_ATTENTION;
  if (output.json) {
    output.jsonLine(status);
    return exitCode;
  }
  for (const { account, repository, findings, usedBytes, freeBytes, totalBytes, lastCheckMs } of status.accounts) {
    const free =
      freeBytes === undefined || totalBytes === undefined
        ? ""
        : `, ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`;
    output.line(`${output.bold(account)}  ${repository}: ${formatBytes(usedBytes)} used${free}`);
    output.line(`  last good check: ${timeOr(lastCheckMs, "none yet")}`);
    for (const { health, text } of findings) output.line(`  ${health === "alarm" ? "ALARM" : "note"}: ${text}`);
  }
  output.line("");
  if (status.hosts.length === 0) {
    output.line("There are no hosts yet. Add one: holdfast host add NAME");
    return exitCode;
  }
  const columns = [
    { title: "Host", cell: ({ host }: HostStatus) => host },
    { title: "Health", cell: ({ health }: HostStatus) => (health === "alarm" ? "ALARM" : health) },
    { title: "Last snapshot", cell: ({ lastSnapshotMs }: HostStatus) => timeOr(lastSnapshotMs, "never") },
    { title: "Next run", cell: ({ nextRunMs }: HostStatus) => timeOr(nextRunMs, "-") },
    { title: "Proven", cell: ({ provenMs }: HostStatus) => timeOr(provenMs, "not yet") },
    { title: "Snapshots", align: "right" as const, cell: ({ snapshots }: HostStatus) => String(snapshots) },
    { title: "Used", align: "right" as const, cell: ({ usedBytes }: HostStatus) => formatBytes(usedBytes) },
  ];
  const notWell = status.hosts.filter(({ health }) => health !== "ok").length;
  const note = `${plural(status.hosts.length, "host")}, ${notWell === 0 ? "all well" : `${notWell} not well`}`;
  for (const line of formatTable(columns, status.hosts, note)) output.line(line);
  for (const { host, findings } of status.hosts) {
    for (const { health, text } of findings) output.line(`${host}: ${health === "alarm" ? "ALARM: " : ""}${text}`);
  }
  return exitCode;
}
