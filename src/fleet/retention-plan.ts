/** Which snapshots go, and why. Pure: the clock and what would be freed are passed in. */
import type { Calendar } from "../retention/calendar.ts";
import { expiredSnapshots, type RetentionPolicy } from "../retention/policy.ts";
import {
  bytesOverSoftQuota,
  forgetForSpace,
  orderToKeep,
  protectedByFloor,
  type Floor,
  type Quota,
  type StoredSnapshot,
} from "../retention/space.ts";

export interface RetentionHost {
  readonly name: string;
  readonly policy: RetentionPolicy;
  readonly floor: Floor;
  readonly usedBytes: number;
  readonly quota: Quota | undefined;
}

export interface RetentionRequest<S extends StoredSnapshot> {
  /** Of all hosts that share the space. */
  readonly snapshots: readonly S[];
  /** Snapshots of hosts that are not among these are left alone. */
  readonly hosts: readonly RetentionHost[];
  /** How much must be freed; 0 where there is room. */
  readonly neededBytes: number;
  /** What becomes free when this one goes after those that it was asked for before. */
  readonly release: (snapshot: S) => number;
  readonly nowMs: number;
  readonly calendar: Calendar;
}

export interface Forgotten<S> {
  readonly snapshot: S;
  /** Its policy has no more use for it; its host is above its soft quota; space is needed. */
  readonly reason: "policy" | "quota" | "space";
  readonly releasedBytes: number;
}

export interface RetentionPlan<S> {
  /** In the order in which they go. */
  readonly forget: readonly Forgotten<S>[];
  /** How much of what is needed could not be freed without going below the floor. */
  readonly lackingBytes: number;
}

/** First what policies have no use for, then what is above soft quotas, then what must make room. Never below the floor. */
export function planRetention<S extends StoredSnapshot>(request: RetentionRequest<S>): RetentionPlan<S> {
  const { hosts, nowMs, calendar } = request;
  const byHost = Map.groupBy(request.snapshots, ({ host }) => host);
  const forget: Forgotten<S>[] = [];
  const gone = new Set<S>();
  const kept = new Set<S>();
  const take = (snapshot: S, reason: Forgotten<S>["reason"]): number => {
    const releasedBytes = request.release(snapshot);
    gone.add(snapshot);
    forget.push({ snapshot, reason, releasedBytes });
    return releasedBytes;
  };

  for (const host of hosts) {
    const own = byHost.get(host.name) ?? [];
    for (const snapshot of protectedByFloor(own, host.floor, nowMs)) kept.add(snapshot);
    let releasedBytes = 0;
    for (const snapshot of expiredSnapshots(own, host.policy, nowMs, calendar)) {
      if (!kept.has(snapshot)) releasedBytes += take(snapshot, "policy");
    }
    const overBytes = bytesOverSoftQuota(host.usedBytes - releasedBytes, host.quota);
    const order = orderToKeep(
      own.filter((snapshot) => !gone.has(snapshot)),
      nowMs,
    );
    forgetForSpace(order, kept, overBytes, (snapshot) => take(snapshot, "quota"));
  }

  const released = forget.reduce((sum, { releasedBytes }) => sum + releasedBytes, 0);
  const neededBytes = Math.max(0, request.neededBytes - released);
  const yielding = new Set(hosts.filter(({ policy }) => policy.kind === "importance").map(({ name }) => name));
  const order = orderToKeep(
    request.snapshots.filter((snapshot) => yielding.has(snapshot.host) && !gone.has(snapshot)),
    nowMs,
  );
  const { releasedBytes } = forgetForSpace(order, kept, neededBytes, (snapshot) => take(snapshot, "space"));
  return { forget, lackingBytes: Math.max(0, neededBytes - releasedBytes) };
}
