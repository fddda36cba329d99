/**
 * Sessions of hosts: what one connection leaves for the next when it breaks, and what all of them share.
 */
import { BusyError, messageOf, RefusedError } from "../errors.ts";
import { noteRunning, type RunningNote } from "../repository/running.ts";
import { type Connection, SILENCE_MS } from "../wire/connection.ts";
import type { AgentHello, SessionPurpose } from "../wire/hello.ts";
import {
  type AccountGuard,
  type CommittedRecord,
  createAccountGuard,
  type GuardedStorage,
  guardedStorage,
  requireLater,
} from "./guarded-storage.ts";
import type { Account, AdmittedHost } from "./host-directory.ts";
import { runNoteOf } from "./own-objects.ts";
import { newSession, readTicket, type TicketContent, writeTicket } from "./session-ticket.ts";

/** Told of what happens; for the fleet's runs and logs. Must not throw. */
export interface SessionObserver {
  began?(session: SessionReport): void;
  committed?(session: SessionReport, snapshot: CommittedRecord): void;
  /** After the last connection, and the time in which another could have gone on with it. */
  ended?(session: SessionReport): void;
  /** A fault of the server's own. */
  fault?(host: string, error: unknown): void;
}

export interface SessionReport {
  readonly host: string;
  /** Hex: the same for all connections of a session. */
  readonly sessionId: string;
  readonly purpose: SessionPurpose;
  readonly program: string;
  readonly startedMs: number;
  /** Content that arrived, as the server counted it. */
  readonly receivedBytes: number;
  readonly snapshot: string | undefined;
  /** Why the last connection ended, where not well. */
  readonly problem: string | undefined;
  /** What it was refused to store last, and what to do about it. */
  readonly refusal: string | undefined;
}

export interface SessionRules {
  /** How long a broken session waits for its agent to come back. */
  readonly lingerMs: number;
  /** How old a session may be whose agent comes back. */
  readonly maximumAgeMs: number;
  /** For how long a run holds pruning off: one that never commits must not do so for ever. */
  readonly noteMs: number;
}

export const SESSION_RULES: SessionRules = {
  lingerMs: 60 * 60 * 1000,
  maximumAgeMs: 7 * 24 * 60 * 60 * 1000,
  noteMs: 24 * 60 * 60 * 1000,
};

/** How long a commit may take whose run has lost its note. */
const LATE_NOTE_MS = 10 * 60 * 1000;

/** A session while a connection serves it. */
export interface ServedSession {
  readonly storage: GuardedStorage;
  readonly ticket: string;
  readonly startedMs: number;
  count(receivedBytes: number): void;
  refused(error: RefusedError): void;
  /** The connection is over. `problem` is undefined where the agent has said goodbye. */
  leave(problem: unknown): Promise<void>;
}

export interface HostSessions {
  /** Throws `RefusedError` or `BusyError`. */
  enter(host: AdmittedHost, hello: AgentHello, connection: Connection): Promise<ServedSession>;
  /** Ends what is left of all sessions. */
  close(): Promise<void>;
}

interface Session {
  readonly content: TicketContent;
  readonly report: { -readonly [Field in keyof SessionReport]: SessionReport[Field] };
  readonly storage: GuardedStorage;
  note: RunningNote | undefined;
  noteTimer: NodeJS.Timeout | undefined;
  /** It was noted again to commit, after its note had been removed: that happens once. */
  cameLate: boolean;
  connection: Connection | undefined;
  linger: NodeJS.Timeout | undefined;
}

export function createHostSessions(
  rules: SessionRules = SESSION_RULES,
  observer: SessionObserver = {},
  now: () => number = Date.now,
): HostSessions {
  const guards = new WeakMap<Account, AccountGuard>();
  /** Backups by host: there is one at a time. */
  const backups = new Map<string, Session | "entering">();

  function guardOf(account: Account): AccountGuard {
    let guard = guards.get(account);
    if (guard === undefined) {
      guard = createAccountGuard(account);
      guards.set(account, guard);
    }
    return guard;
  }

  async function begin(host: AdmittedHost, hello: AgentHello, content: TicketContent): Promise<Session> {
    const { program } = hello;
    const purpose = hello.purpose === "backup" ? "backup" : "read";
    const { startedMs, sessionId } = content;
    // Durable before anything that the agent is told: pruning sees it, or the agent sees what is condemned.
    const guard = guardOf(host.account);
    const note = purpose === "backup" ? await writeNote(host) : undefined;
    let doomed: ReadonlySet<string> = new Set();
    try {
      if (note !== undefined) doomed = await guard.condemned();
    } catch (error) {
      await note?.remove().catch(() => undefined);
      throw error;
    }
    const report: Session["report"] = {
      host: host.name,
      sessionId: sessionId.toString("hex"),
      purpose,
      program,
      startedMs,
      receivedBytes: 0,
      snapshot: undefined,
      problem: undefined,
      refusal: undefined,
    };
    const session: Session = {
      content,
      report,
      note,
      noteTimer: undefined,
      cameLate: false,
      connection: undefined,
      linger: undefined,
      storage: guardedStorage(guard, host, {
        purpose,
        startedMs,
        async renewNote() {
          if (session.note !== undefined) {
            // Somebody took the run for dead: what was condemned since may go as well.
            if (!(await session.note.renewForGood())) doomed = await guard.condemned();
            return;
          }
          if (session.cameLate) throw new RefusedError("the run has taken too long", { hint: "begin another" });
          session.cameLate = true;
          session.note = await writeNote(host);
          session.noteTimer = setTimeout(() => void removeNote(session), LATE_NOTE_MS).unref();
          doomed = await guard.condemned();
        },
        doomed: () => doomed,
        noteStands: async () => (await session.note?.isThere()) === true,
        onCommit: (snapshot) => {
          report.snapshot = snapshot.id;
          observer.committed?.(report, snapshot);
        },
      }),
    };
    if (note !== undefined) session.noteTimer = setTimeout(() => void removeNote(session), rules.noteMs).unref();
    observer.began?.(report);
    return session;
  }

  async function removeNote(session: Session): Promise<void> {
    const { note } = session;
    session.note = undefined;
    clearTimeout(session.noteTimer);
    try {
      await note?.remove();
    } catch (error) {
      // It stays for a day, and makes pruning wait; what is wrong with the storage others will tell.
      observer.fault?.(session.report.host, error);
    }
  }

  async function end(session: Session): Promise<void> {
    clearTimeout(session.linger);
    if (backups.get(session.report.host) === session) backups.delete(session.report.host);
    await removeNote(session);
    observer.ended?.(session.report);
  }

  async function enterBackup(host: AdmittedHost, hello: AgentHello): Promise<Session> {
    const resumed = hello.resume === undefined ? undefined : contentOf(host, hello.resume);
    const present = backups.get(host.name);
    if (present === "entering") throw busy(host);
    if (present !== undefined && resumed !== undefined && present.content.sessionId.equals(resumed.sessionId)) {
      // The server may not have noticed yet that the other connection is gone.
      present.connection?.close(new BusyError("the run goes on over another connection"));
      clearTimeout(present.linger);
      return present;
    }
    if (present?.connection !== undefined && !present.connection.over) throw busy(host);
    backups.set(host.name, "entering");
    try {
      if (present !== undefined) await end(present);
      backups.set(host.name, "entering");
      const content = resumed ?? newSession(now());
      await requireInterval(host, content.startedMs);
      const session = await begin(host, hello, content);
      backups.set(host.name, session);
      return session;
    } catch (error) {
      backups.delete(host.name);
      throw error;
    }
  }

  /** Told at once, and not only when all has been sent. */
  async function requireInterval(host: AdmittedHost, startedMs: number): Promise<void> {
    const snapshots = await host.account.catalogue.snapshotsOf(host.name);
    for (const { timeMs } of snapshots.values()) {
      // A run that goes on may have committed already, and not have heard of it.
      if (timeMs !== startedMs) requireLater(startedMs, timeMs, host.minimumIntervalMs);
    }
  }

  function contentOf(host: AdmittedHost, ticket: string): TicketContent | undefined {
    const content = readTicket(host.account.ticketKey, host.name, ticket);
    if (content === undefined) throw new RefusedError("the run to go on with is none of this host's");
    if (now() - content.startedMs > rules.maximumAgeMs) {
      throw new RefusedError("the run to go on with began too long ago", { hint: "begin another" });
    }
    return content;
  }

  return {
    async enter(host, hello, connection) {
      const session =
        hello.purpose === "backup" ? await enterBackup(host, hello) : await begin(host, hello, newSession(now()));
      session.connection = connection;
      return {
        storage: session.storage,
        ticket: writeTicket(host.account.ticketKey, host.name, session.content),
        startedMs: session.content.startedMs,
        count(receivedBytes) {
          session.report.receivedBytes += receivedBytes;
        },
        refused(error) {
          session.report.refusal = withHint(error);
        },
        async leave(problem) {
          if (session.connection !== connection) return;
          session.connection = undefined;
          session.report.problem = problem === undefined ? undefined : messageOf(problem);
          const goesOn = problem !== undefined && session.report.snapshot === undefined && hello.purpose === "backup";
          if (goesOn) session.linger = setTimeout(() => void end(session), rules.lingerMs).unref();
          else await end(session);
        },
      };
    },
    async close() {
      const sessions = [...backups.values()].filter((session) => session !== "entering");
      await Promise.all(sessions.map(end));
    },
  };
}

function withHint(error: RefusedError): string {
  return error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
}

function writeNote(host: AdmittedHost): Promise<RunningNote> {
  return noteRunning(host.account.storage, runNoteOf(host.name));
}

function busy(host: AdmittedHost): BusyError {
  return new BusyError(`a backup of ${host.name} is already running`, {
    hint: `if it is not, its connection is noticed to be gone within ${SILENCE_MS / 1000} s`,
  });
}
