/**
 * Which snapshots would stand on which day: plays a history of backups through a policy, on a disc of a given size, with
 * the same functions that decide in earnest.
 *
 * The model of a host's data: its first backup stores all of it. From then on, each day some is added that stays, and
 * some is replaced: one third of that lives until the next backup, one third for a week, one third for a quarter. All
 * amounts grow by a factor each year. A piece of data takes space as long as a snapshot stands that was taken while it
 * lived; so what forgetting a snapshot releases depends on its neighbours, as it does in a repository.
 */
import type { Calendar } from "./calendar.ts";
import { DAY_MS } from "./importance.ts";
import { expiredSnapshots, type RetentionPolicy } from "./policy.ts";
import {
  admitRun,
  bytesToRelease,
  forgetForSpace,
  orderToKeep,
  protectedByFloor,
  spaceThresholds,
  usualRunLimitBytes,
  type EarlierRun,
  type Floor,
  type StoredSnapshot,
} from "./space.ts";

export interface SimulatedHost {
  readonly name: string;
  readonly everyMs: number;
  readonly policy: RetentionPolicy;
  /** What the first backup stores. */
  readonly firstBytes: number;
  readonly addedBytesPerDay: number;
  readonly replacedBytesPerDay: number;
  /** 1 for a host that does not grow; 1.5 for one whose amounts grow by half each year. */
  readonly yearlyGrowth: number;
  /** From this day on, each run stores this much more, until it is refused: a host gone wild, or hostile. */
  readonly surge?: { readonly fromDay: number; readonly bytesPerRun: number };
}

export interface Simulation {
  readonly hosts: readonly SimulatedHost[];
  readonly startMs: number;
  readonly days: number;
  /** Undefined for a disc without end. */
  readonly discBytes: number | undefined;
  readonly floor: Floor;
  readonly calendar: Calendar;
}

/** State of things at the end of a day. */
export interface SimulatedDay {
  /** From 0. */
  readonly day: number;
  readonly endMs: number;
  readonly usedBytes: number;
  /** Runs of this day that found no room. */
  readonly refusedRuns: number;
  /** For each host, when the snapshots that stand were taken, oldest first. */
  readonly standing: ReadonlyMap<string, readonly number[]>;
}

/** One item for each day of the simulation. */
export function* simulate(simulation: Simulation): Generator<SimulatedDay> {
  const { startMs, days, discBytes, floor, calendar } = simulation;
  const hosts = simulation.hosts.map((host) => new HostHistory(host, startMs));
  const recentBackupsBytes: number[] = [];
  const usedBytes = () => hosts.reduce((sum, host) => sum + host.usedBytes, 0);

  for (let day = 0; day < days; day++) {
    const endMs = startMs + (day + 1) * DAY_MS;
    let refusedRuns = 0;
    for (const { host, timeMs } of runsUntil(hosts, endMs)) {
      const runBytes = host.bytesOfNextRun(timeMs, day);
      if (discBytes !== undefined) {
        makeSpace(hosts, discBytes, usedBytes(), recentBackupsBytes, floor, timeMs);
        const usualLimitBytes = usualRunLimitBytes(host.runs, discBytes / hosts.length);
        const { allowedBytes } = admitRun({
          freeBytes: discBytes - usedBytes(),
          thresholds: spaceThresholds(discBytes, recentBackupsBytes),
          usualLimitBytes,
          host: { usedBytes: host.usedBytes, quota: undefined },
          account: { usedBytes: usedBytes(), quota: undefined },
        });
        if (runBytes > allowedBytes) {
          // What it would have stored is left to the next run.
          refusedRuns++;
          continue;
        }
        host.run(timeMs, day, runBytes > usualLimitBytes);
        recentBackupsBytes.push(runBytes);
        makeSpace(hosts, discBytes, usedBytes(), recentBackupsBytes, floor, timeMs);
      } else {
        host.run(timeMs, day, false);
      }
    }
    for (const host of hosts) {
      const kept = protectedByFloor(host.standing, floor, endMs);
      const expired = expiredSnapshots(host.standing, host.settings.policy, endMs, calendar);
      for (const snapshot of expired) if (!kept.has(snapshot)) host.forget(snapshot);
    }
    const standing = new Map(hosts.map((host) => [host.settings.name, host.standing.map(({ timeMs }) => timeMs)]));
    yield { day, endMs, usedBytes: usedBytes(), refusedRuns, standing };
  }
}

/** Runs that fall due before a moment, in the order of their times. */
function runsUntil(hosts: readonly HostHistory[], endMs: number): { host: HostHistory; timeMs: number }[] {
  return hosts
    .flatMap((host) => host.timesUntil(endMs).map((timeMs) => ({ host, timeMs })))
    .toSorted((a, b) => a.timeMs - b.timeMs);
}

function makeSpace(
  hosts: readonly HostHistory[],
  discBytes: number,
  usedBytes: number,
  recentBackupsBytes: readonly number[],
  floor: Floor,
  nowMs: number,
): void {
  const neededBytes = bytesToRelease(discBytes - usedBytes, 0, spaceThresholds(discBytes, recentBackupsBytes));
  if (neededBytes === 0) return;
  const yielding = hosts.filter((host) => host.settings.policy.kind === "importance");
  const snapshots = yielding.flatMap((host) => host.standing);
  const historyOf = new Map(hosts.map((host) => [host.settings.name, host]));
  forgetForSpace(orderToKeep(snapshots, nowMs), protectedByFloor(snapshots, floor, nowMs), neededBytes, (snapshot) =>
    historyOf.get(snapshot.host)!.forget(snapshot),
  );
}

/** What one host has stored, and which of its snapshots stand. */
class HostHistory {
  readonly settings: SimulatedHost;
  readonly #startMs: number;
  /** Oldest first. */
  standing: StoredSnapshot[] = [];
  readonly runs: EarlierRun[] = [];
  usedBytes = 0;
  /** Pieces of data in the order of their birth. */
  readonly #pieces: Piece[] = [];
  #nextRunMs: number;
  #previousRunMs: number | undefined;

  constructor(settings: SimulatedHost, startMs: number) {
    this.settings = settings;
    this.#startMs = startMs;
    this.#nextRunMs = startMs + settings.everyMs / 2;
  }

  timesUntil(endMs: number): number[] {
    const times: number[] = [];
    for (; this.#nextRunMs < endMs; this.#nextRunMs += this.settings.everyMs) times.push(this.#nextRunMs);
    return times;
  }

  bytesOfNextRun(timeMs: number, day: number): number {
    return this.#piecesOfRun(timeMs, day).reduce((sum, piece) => sum + piece.bytes, 0);
  }

  run(timeMs: number, day: number, suddenGrowth: boolean): void {
    const pieces = this.#piecesOfRun(timeMs, day);
    const storedBytes = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
    this.#pieces.push(...pieces);
    this.usedBytes += storedBytes;
    this.runs.push({ storedBytes, suddenGrowth, accepted: false });
    this.#previousRunMs = timeMs;
    const { name } = this.settings;
    const id = `${name} ${timeMs}`;
    this.standing.push({ id, timeMs, host: name, group: name, paths: [], tags: [], verified: true, suddenGrowth });
  }

  /** Returns what becomes free: pieces that no other standing snapshot saw alive. */
  forget(snapshot: StoredSnapshot): number {
    const position = this.standing.indexOf(snapshot);
    const previousMs = this.standing[position - 1]?.timeMs ?? -Infinity;
    const nextMs = this.standing[position + 1]?.timeMs ?? Infinity;
    this.standing.splice(position, 1);
    let releasedBytes = 0;
    for (let at = firstBornAfter(this.#pieces, previousMs); at < this.#pieces.length; at++) {
      const piece = this.#pieces[at];
      if (piece.bornMs > snapshot.timeMs) break;
      if (piece.diesMs > snapshot.timeMs && piece.diesMs <= nextMs) releasedBytes += piece.bytes;
    }
    this.usedBytes -= releasedBytes;
    return releasedBytes;
  }

  #piecesOfRun(timeMs: number, day: number): Piece[] {
    const { firstBytes, addedBytesPerDay, replacedBytesPerDay, yearlyGrowth, surge, everyMs } = this.settings;
    if (this.#previousRunMs === undefined) return [{ bornMs: timeMs, diesMs: Infinity, bytes: firstBytes }];
    const growth = yearlyGrowth ** ((timeMs - this.#startMs) / (365 * DAY_MS));
    const days = (timeMs - this.#previousRunMs) / DAY_MS;
    const replacedBytes = replacedBytesPerDay * growth * days;
    const surgeBytes = surge !== undefined && day >= surge.fromDay ? surge.bytesPerRun : 0;
    return [
      { bornMs: timeMs, diesMs: Infinity, bytes: addedBytesPerDay * growth * days },
      { bornMs: timeMs, diesMs: timeMs + everyMs, bytes: replacedBytes / 3 + surgeBytes },
      { bornMs: timeMs, diesMs: timeMs + 7 * DAY_MS, bytes: replacedBytes / 3 },
      { bornMs: timeMs, diesMs: timeMs + 91 * DAY_MS, bytes: replacedBytes / 3 },
    ];
  }
}

interface Piece {
  readonly bornMs: number;
  readonly diesMs: number;
  readonly bytes: number;
}

function firstBornAfter(pieces: readonly Piece[], timeMs: number): number {
  let low = 0;
  for (let high = pieces.length; low < high;) {
    const middle = (low + high) >> 1;
    if (pieces[middle].bornMs <= timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
