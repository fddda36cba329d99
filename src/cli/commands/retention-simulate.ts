import { UsageError } from "../../errors.ts";
import { localCalendar } from "../../retention/calendar.ts";
import { describeByAge, drawStandingSnapshots, type AgeBand } from "../../retention/drawing.ts";
import { DAY_MS } from "../../retention/importance.ts";
import { hasNoRules } from "../../retention/keep-rules.ts";
import type { RetentionPolicy } from "../../retention/policy.ts";
import { DEFAULT_PROMOTION } from "../../retention/promotion.ts";
import { simulate, type SimulatedDay } from "../../retention/simulate.ts";
import { DEFAULT_FLOOR } from "../../retention/space.ts";
import type { Invocation, OptionValues } from "../command-spec.ts";
import { formatTable } from "../output/table.ts";
import { keepRulesOf } from "./keep-options.ts";
import type { retentionSimulateSpec } from "./retention-simulate.spec.ts";

type SimulateOptions = OptionValues<typeof retentionSimulateSpec.options>;

const HOST = "host";
const WIDEST_PICTURE = 110;

const MOST_BACKUPS = 50_000;

export async function run({ context, options }: Invocation<typeof retentionSimulateSpec.options>): Promise<number> {
  const { output } = context;
  const startMs = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  const everyMs = options.every * 3_600_000;
  if ((options.days * 24) / options.every > MOST_BACKUPS) {
    throw new UsageError(`more than ${MOST_BACKUPS} backups take too long to play through`, {
      hint: "name fewer --days, or more hours with --every",
    });
  }
  if (options.days < 1) throw new UsageError("there is nothing to see in less than a day");
  const host = {
    name: HOST,
    everyMs,
    policy: policyOf(options),
    firstBytes: options.first,
    addedBytesPerDay: options.added,
    replacedBytesPerDay: options.replaced,
    yearlyGrowth: options.growth,
  };
  const { days, disc: discBytes } = options;
  const simulation = { hosts: [host], startMs, days, discBytes, floor: DEFAULT_FLOOR, calendar: localCalendar };
  const simulated: SimulatedDay[] = [];
  for (const day of simulate(simulation)) {
    context.signal.throwIfAborted();
    simulated.push(day);
  }
  const last = simulated.at(-1)!;
  const bands = describeByAge(last.standing.get(HOST)!, last.endMs);
  const refusedRuns = simulated.reduce((sum, day) => sum + day.refusedRuns, 0);
  if (output.json) {
    output.jsonLine({ days: simulated.map(dayJson), byAge: bands, refusedRuns });
    return 0;
  }
  if (!options.table) {
    const columns = Math.min(WIDEST_PICTURE, Math.max(20, (output.columns ?? WIDEST_PICTURE + 20) - 20));
    const everyDays = Math.max(1, Math.ceil(days / 40));
    output.line(
      drawStandingSnapshots(simulated, { host: HOST, startMs, days, everyMs, discBytes, columns, everyDays }),
    );
    output.line("");
  }
  output.line(`after ${days} days:`);
  for (const line of ageTable(bands)) output.line(line);
  if (refusedRuns > 0) {
    const { day } = simulated.find((one) => one.refusedRuns > 0)!;
    output.line(`${refusedRuns} backups found no room, the first on day ${day + 1}`);
  }
  return 0;
}

function policyOf(options: SimulateOptions): RetentionPolicy {
  switch (options.policy) {
    case "importance":
      return { kind: "importance" };
    case "age":
      return { kind: "age", maxAgeMs: options.maxAge * DAY_MS };
    case "promotion":
      return { kind: "promotion", levels: DEFAULT_PROMOTION };
    case "keep": {
      const rules = keepRulesOf(options);
      if (!hasNoRules(rules)) return { kind: "keep", rules };
      throw new UsageError("the policy keep needs rules", { hint: 'such as "--keep-daily 7 --keep-weekly 5"' });
    }
  }
}

function ageTable(bands: readonly AgeBand[]): string[] {
  const inDays = (ms: number | undefined) => (ms === undefined ? "" : `${(ms / DAY_MS).toFixed(1)} days`);
  return formatTable(
    [
      { title: "Age", cell: ({ name }) => name },
      { title: "Stand", cell: ({ count }) => String(count), align: "right" },
      { title: "Widest gap", cell: ({ widestGapMs }) => inDays(widestGapMs), align: "right" },
    ],
    bands,
  );
}

function dayJson({ day, endMs, usedBytes, refusedRuns, standing }: SimulatedDay): object {
  return { day, end: new Date(endMs).toISOString(), usedBytes, refusedRuns, standing: standing.get(HOST) };
}
