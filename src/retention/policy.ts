import { olderThan } from "./age.ts";
import type { Calendar } from "./calendar.ts";
import { applyKeepRules, type KeepRules } from "./keep-rules.ts";
import { promote, type PromotionLevels } from "./promotion.ts";
import type { RetentionSnapshot } from "./snapshot.ts";

/** How long the snapshots of a host stand. Only those under `importance` ever make way for lack of space. */
export type RetentionPolicy =
  | { readonly kind: "importance" }
  | { readonly kind: "age"; readonly maxAgeMs: number }
  | { readonly kind: "keep"; readonly rules: KeepRules }
  | { readonly kind: "promotion"; readonly levels: PromotionLevels };

/** Which snapshots of a host the policy itself has no more use for, however much space there is. Before the floor. */
export function expiredSnapshots<S extends RetentionSnapshot>(
  snapshots: readonly S[],
  policy: RetentionPolicy,
  nowMs: number,
  calendar: Calendar,
): S[] {
  if (policy.kind === "importance") return [];
  if (policy.kind === "age") return olderThan(snapshots, policy.maxAgeMs, nowMs);
  const groups = Map.groupBy(snapshots, ({ host, group }) => JSON.stringify([host, group]));
  return [...groups.values()].flatMap((members) =>
    policy.kind === "keep"
      ? applyKeepRules(members, policy.rules, nowMs, calendar).remove
      : promote(members, policy.levels, calendar).remove,
  );
}
