import { apiPath } from "../../server/api-client.ts";
import type { Invocation } from "../command-spec.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatTime } from "../output/format-time.ts";
import { formatTable } from "../output/table.ts";
import { serverOf } from "../server-access.ts";
import type { retentionPlanSpec } from "./server.spec.ts";

interface Plan {
  readonly forget: readonly Planned[];
  readonly neededBytes: number;
  readonly lackingBytes: number;
}

interface Planned {
  readonly id: string;
  readonly host: string;
  readonly timeMs: number;
  readonly reason: "policy" | "quota" | "space";
  readonly releasedBytes: number;
}

const REASONS = {
  policy: "its policy has no more use for it",
  quota: "its host is above its soft quota",
  space: "space is needed",
} as const;

export async function run({ context, options }: Invocation<typeof retentionPlanSpec.options>): Promise<number> {
  const { output } = context;
  const plan = await serverOf(options).call<Plan>("GET", apiPath(["retention", options.account ?? "default"]));
  if (output.json) {
    output.jsonLine(plan);
    return 0;
  }
  if (plan.forget.length === 0) output.line("Nothing would go: there is room, and every policy wants what there is.");
  else {
    const columns = [
      { title: "Snapshot", cell: ({ id }: Planned) => id.slice(0, 8) },
      { title: "Host", cell: ({ host }: Planned) => host },
      { title: "Time", cell: ({ timeMs }: Planned) => formatTime(timeMs) },
      { title: "Frees", align: "right" as const, cell: ({ releasedBytes }: Planned) => formatBytes(releasedBytes) },
      { title: "Why", cell: ({ reason }: Planned) => REASONS[reason] },
    ];
    for (const line of formatTable(columns, plan.forget, `${plan.forget.length} snapshots would go`)) output.line(line);
  }
  if (plan.lackingBytes > 0) {
    output.line(`${formatBytes(plan.lackingBytes)} more are needed, but the floor protects all that is left.`);
  }
  return 0;
}
