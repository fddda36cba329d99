import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { DamagedError, errnoOf, LockedError, ObjectMissingError, StorageError } from "../errors.ts";
import { parseObjectName, PREFIXES, runOfNote } from "../format/names.ts";
import { decodeRunning, encodeRunning, type Running } from "../format/running.ts";
import type { Storage } from "../storage/storage.ts";

/**
 * Notes in storage that somebody is writing. A writer's note must be durable before the writer reads what is condemned:
 * then either pruning sees the note, or the writer sees the condemnation (docs/decisions, two-phase pruning).
 */
export interface RunningNote {
  /**
   * Puts a fresh note in place of the old one; from then on it stays as it is until `remove`. Gives false where an earlier
   * note had gone, because somebody took the writer for dead: its machine slept for days, say, or a clock is wrong.
   */
  renewForGood(): Promise<boolean>;
  /** Whether the note is still there. */
  isThere(): Promise<boolean>;
  remove(): Promise<void>;
}

/** A note that is older than this was left behind by a machine that went down: writers renew theirs every hour. */
export const STALE_NOTE_MS = 24 * 60 * 60 * 1000;
const RENEW_MS = 60 * 60 * 1000;
/** That of a prune is not renewed. Two prunes at once do no harm, but much of the work twice. */
const STALE_PRUNE_MS = 7 * 24 * 60 * 60 * 1000;

/** The one name under which pruning notes itself, so that there is only one at a time. */
const PRUNE_NOTE = `${PREFIXES.running}${"0".repeat(32)}`;

/** Notes that a writer is at work, until `remove`. Renewed now and then, so that it does not look left behind. */
export async function noteRunning(storage: Storage, what: string): Promise<RunningNote> {
  const started = new Date().toISOString();
  const run = randomBytes(8).toString("hex");
  let name = await putNote(storage, run, what, started);
  let wasAlwaysThere = true;
  let renewing: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    // If it fails, the old note stays, and is as good for a day; what is wrong with the storage the run itself will find.
    renewing = renewing.then(renew).catch(() => undefined);
  }, RENEW_MS).unref();

  async function renew(): Promise<void> {
    const before = name;
    name = await putNote(storage, run, what, started);
    // Looked at with the new one durable: pruning looks again for notes after it has removed one.
    wasAlwaysThere &&= (await storage.stat(before)) !== undefined;
    await storage.delete(before);
  }

  return {
    async renewForGood() {
      clearInterval(timer);
      await renewing;
      await renew();
      return wasAlwaysThere;
    },
    isThere: async () => (await storage.stat(name)) !== undefined,
    async remove() {
      clearInterval(timer);
      await renewing;
      await storage.delete(name);
    },
  };
}

async function putNote(storage: Storage, run: string, what: string, started: string): Promise<string> {
  const name = PREFIXES.running + run + randomBytes(8).toString("hex");
  await storage.put(name, [encodeRunning({ host: hostname(), process: process.pid, started, what })]);
  return name;
}

export interface PruneNote {
  /** Whether it is still there, and not another's in its place. True on a full disc, where there is none. */
  isOurs(): Promise<boolean>;
  remove(): Promise<void>;
}

/**
 * Notes that a prune is at work. Throws `LockedError` where another one is. On a full disc there is no note: pruning must
 * work there above all, and two that delete the same garbage do no harm.
 */
export async function notePruning(storage: Storage): Promise<PruneNote> {
  const note = encodeRunning({
    host: hostname(),
    process: process.pid,
    started: new Date().toISOString(),
    what: "prune",
  });
  for (let attempt = 1; ; attempt++) {
    try {
      if (await storage.put(PRUNE_NOTE, [note])) break;
    } catch (error) {
      if (isDiscFull(error)) return { isOurs: async () => true, remove: async () => undefined };
      throw error;
    }
    const other = await readNote(storage, PRUNE_NOTE);
    // It has just ended.
    if (other === undefined) continue;
    if (attempt > 2 || !(await isPruneLeftBehind(storage, other))) {
      throw new LockedError(
        `${storage.location} is being pruned by process ${other.process} on ${other.host} since ${other.started}`,
        {
          hint: `try again when that has ended; if it did not end well, run "holdfast unlock"${other.host === hostname() ? "" : " there, or here with --remove-all"}`,
        },
      );
    }
    await storage.delete(PRUNE_NOTE);
  }

  async function isOurs(): Promise<boolean> {
    try {
      return note.equals(await storage.get(PRUNE_NOTE));
    } catch (error) {
      if (error instanceof ObjectMissingError) return false;
      throw error;
    }
  }

  return {
    isOurs,
    async remove() {
      // Somebody may have taken us for dead, and be at work now.
      if (await isOurs()) await storage.delete(PRUNE_NOTE);
    },
  };
}

async function isPruneLeftBehind(storage: Storage, note: Running): Promise<boolean> {
  if (isLeftBehind(note)) return true;
  const found = await storage.stat(PRUNE_NOTE);
  return found !== undefined && Date.now() - found.modifiedMs > STALE_PRUNE_MS;
}

export function isDiscFull(error: unknown): boolean {
  const code = errnoOf(error instanceof StorageError ? error.cause : error);
  return code === "ENOSPC" || code === "EDQUOT";
}

export interface LiveRun extends Running {
  /** Equal for all notes of a run. */
  readonly run: string;
}

export interface Runs {
  /** Whoever is writing at the moment, but for pruning. */
  readonly running: readonly LiveRun[];
  /** Notes whose writers are gone. */
  readonly leftBehind: readonly string[];
}

/** Sorts the notes that there are. Those of writers that live must not look old because this machine's clock is wrong. */
export async function listRunning(storage: Storage): Promise<Runs> {
  const running: LiveRun[] = [];
  const leftBehind: string[] = [];
  // The storage's clock, where pruning has just left its note.
  const nowMs = (await storage.stat(PRUNE_NOTE))?.modifiedMs ?? Date.now();
  for await (const { name, modifiedMs } of storage.list(PREFIXES.running)) {
    if (name === PRUNE_NOTE || parseObjectName(name) === undefined) continue;
    const note = await readNote(storage, name);
    if (note === undefined) continue;
    if (isLeftBehind(note) || nowMs - modifiedMs > STALE_NOTE_MS) leftBehind.push(name);
    else running.push({ ...note, run: runOfNote(name) });
  }
  return { running, leftBehind };
}

export interface RemovedNotes {
  readonly removed: number;
  /** Notes of those who live, as far as can be told. */
  readonly kept: readonly Running[];
}

/** Removes notes whose writers are gone, or with `all` every note, whosever it is. */
export async function removeNotes(storage: Storage, all: boolean): Promise<RemovedNotes> {
  if (all) return { removed: await removeEveryNote(storage), kept: [] };
  const { running, removed } = await removeNotesLeftBehind(storage);
  const pruning = await readNote(storage, PRUNE_NOTE);
  if (pruning === undefined) return { removed, kept: running };
  if (!(await isPruneLeftBehind(storage, pruning))) return { removed, kept: [...running, pruning] };
  await storage.delete(PRUNE_NOTE);
  return { removed: removed + 1, kept: running };
}

async function removeEveryNote(storage: Storage): Promise<number> {
  let removed = 0;
  for await (const { name } of storage.list(PREFIXES.running)) {
    await storage.delete(name);
    removed++;
  }
  return removed;
}

/**
 * Removes the notes of writers that are gone, other than prunes, and gives those that are left. It looks again after each
 * removal: a writer that was taken for dead renews its note, and then either sees that its old one is gone, or is seen here.
 */
export async function removeNotesLeftBehind(
  storage: Storage,
): Promise<{ readonly running: readonly LiveRun[]; readonly removed: number }> {
  let removed = 0;
  for (;;) {
    const { running, leftBehind } = await listRunning(storage);
    if (leftBehind.length === 0) return { running, removed };
    for (const name of leftBehind) await storage.delete(name);
    removed += leftBehind.length;
  }
}

/** A note that can't be understood counts as somebody's: better wait than delete what they need. */
async function readNote(storage: Storage, name: string): Promise<Running | undefined> {
  try {
    return decodeRunning(await storage.get(name), name);
  } catch (error) {
    if (error instanceof ObjectMissingError) return undefined;
    if (error instanceof DamagedError)
      return { host: "an unknown host", process: 0, started: "an unknown time", what: "?" };
    throw error;
  }
}

/** True only where it is certain: a process of this machine that is no more. */
function isLeftBehind(note: Running): boolean {
  if (note.host !== hostname() || note.process === process.pid || note.process === 0) return false;
  try {
    process.kill(note.process, 0);
    return false;
  } catch (error) {
    return errnoOf(error) === "ESRCH";
  }
}
