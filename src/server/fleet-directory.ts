/** The fleet as sessions of hosts see it: whom to let in, how much they may store, and what is told of their runs. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { HoldfastError, messageOf, RefusedError, UsageError } from "../errors.ts";
import { discSpace, findAccount, type Account as FleetAccount } from "../fleet/accounts.ts";
import { admitBackup, limitReached, type MeasureSpace, type Permit } from "../fleet/admission.ts";
import { noteSnapshot } from "../fleet/catalogue.ts";
import type { Database } from "../fleet/database/open.ts";
import { findHost, type Host } from "../fleet/hosts.ts";
import { nextRunOf } from "../fleet/next-run.ts";
import { findPolicy, hostPolicyOf } from "../fleet/policies.ts";
import { beginRun, endRun, isRunWanted, logRun, noteRefusal } from "../fleet/runs.ts";
import { writeFileDurably } from "../fleet/write-file.ts";
import type { Repository } from "../repository/repository.ts";
import { readSnapshot } from "../repository/snapshots.ts";
import { holdsAllKeys } from "./verify-pack.ts";
import type { VerifyPool } from "./verify-pool.ts";
import { createFleetCatalogue } from "./fleet-catalogue.ts";
import type { Account, HostDirectory } from "./host-directory.ts";
import type { SessionObserver, SessionReport } from "./host-sessions.ts";
import type { CommittedRecord } from "./guarded-storage.ts";
import type { Log } from "./log.ts";

export interface FleetDirectoryOptions {
  readonly database: Database;
  readonly dataFolder: string;
  readonly repositoryOf: (account: FleetAccount) => Promise<Repository>;
  readonly verifyPool: VerifyPool;
  readonly nowMs: () => number;
  readonly log: Log;
  readonly measure?: MeasureSpace;
}

export interface FleetDirectory extends HostDirectory {
  readonly observer: SessionObserver;
  /** Backups under way, by account. */
  runningBackups(account: string): number;
  /** Resolves when all that was observed so far is in the database. */
  settled(): Promise<void>;
}

interface OpenRun {
  readonly host: Host;
  readonly runId: Promise<number>;
  /** A person asked for it. */
  readonly isWanted: boolean;
  /** What may be stored, once that was asked for. */
  permit: Promise<Permit> | undefined;
  takenBytes: number;
  committed: CommittedRecord | undefined;
}

export function createFleetDirectory(options: FleetDirectoryOptions): FleetDirectory {
  const { database, nowMs, log, measure = discSpace } = options;
  const accounts = new Map<string, Promise<Account>>();
  const runs = new Map<string, OpenRun>();
  const hosts = new Map<string, { readonly host: Host; readonly isWanted: boolean }>();
  const ticketKey = keptSecret(path.join(options.dataFolder, "ticket.key"));
  let noted: Promise<unknown> = Promise.resolve();

  /** One after another, in the order in which things happened. */
  function note(work: () => Promise<unknown>): void {
    noted = noted
      .then(work)
      .catch((error: unknown) => log("error", `a run could not be recorded: ${messageOf(error)}`));
  }

  function accountOf(name: string): Promise<Account> {
    let account = accounts.get(name);
    if (account === undefined) {
      account = openAccount(name);
      accounts.set(name, account);
      account.catch(() => accounts.delete(name));
    }
    return account;
  }

  async function openAccount(name: string): Promise<Account> {
    const account = await findAccount(database, name);
    const repository = await options.repositoryOf(account);
    return {
      storage: repository.storage,
      repositoryId: repository.config.id,
      indexKey: repository.ring.indexKey,
      ticketKey,
      verifyPack: holdsAllKeys(repository.ring) ? options.verifyPool.verifierOf(repository.ring) : undefined,
      catalogue: createFleetCatalogue(database, account.id, async (_host, id) => {
        await noteSnapshot(database, account.id, await readSnapshot(repository, id));
      }),
      admit: (host, bytes) => admit(account, host, bytes),
    };
  }

  /** All that a run sends counts, also what is dropped again: a host that sends rubbish uses up what it may store. */
  async function admit(
    account: FleetAccount,
    hostName: string,
    bytes: number,
  ): Promise<(arrivedBytes: number) => void> {
    const run = runs.get(hostName);
    if (run === undefined) throw new RefusedError("nothing may be stored outside of a run");
    run.permit ??= admitBackup(database, run.host, nowMs(), measure, run.isWanted);
    const permit = await run.permit;
    const space = measure(account);
    // Others store at the same time.
    const isFull = space !== undefined && space.freeBytes - bytes < space.totalBytes * 0.01;
    if (isFull) throw limitReached(run.host, { allowedBytes: 0, limitedBy: "free space" });
    if (run.takenBytes + bytes > permit.allowedBytes) throw limitReached(run.host, permit);
    run.takenBytes += bytes;
    return (arrivedBytes) => {
      run.takenBytes -= bytes - arrivedBytes;
    };
  }

  async function endOf(run: OpenRun, report: SessionReport): Promise<void> {
    const { committed } = run;
    const id = await run.runId;
    if (committed === undefined) {
      const { refusal } = report;
      const state = refusal === undefined ? "failed" : "refused";
      const error = refusal ?? report.problem ?? "the host ended the run without a snapshot";
      await endRun(database, id, { state, storedBytes: report.receivedBytes, error }, nowMs());
      log("warning", refusal === undefined ? "a run failed" : "a run was refused", {
        host: report.host,
        run: id,
        error,
      });
      return;
    }
    const { open } = committed.record;
    const usualLimitBytes = (await run.permit)?.usualLimitBytes ?? Infinity;
    const suddenGrowth = report.receivedBytes > usualLimitBytes;
    await endRun(
      database,
      id,
      {
        state: open.complete ? "succeeded" : "incomplete",
        snapshot: committed.id,
        files: open.files,
        sizeBytes: open.sizeBytes,
        addedBytes: open.addedBytes,
        // As the server counted it, whatever the host says.
        storedBytes: report.receivedBytes,
        suddenGrowth,
      },
      nowMs(),
    );
    await database
      .updateTable("hosts")
      .set((row) => ({ used_bytes: row("used_bytes", "+", report.receivedBytes) }))
      .where("id", "=", run.host.id)
      .execute();
    log(suddenGrowth ? "warning" : "info", suddenGrowth ? "a run stored far more than usual" : "a run succeeded", {
      host: report.host,
      run: id,
      snapshot: committed.id,
      storedBytes: report.receivedBytes,
    });
  }

  const observer: SessionObserver = {
    began(report) {
      const admitted = hosts.get(report.host);
      if (report.purpose !== "backup" || admitted === undefined) return;
      const runId = beginRun(database, admitted.host.id, report.startedMs);
      runs.set(report.host, { ...admitted, runId, permit: undefined, takenBytes: 0, committed: undefined });
      note(async () => logRun(database, await runId, "info", `the run began: ${report.program}`, nowMs()));
    },
    committed(report, record) {
      const run = runs.get(report.host);
      if (run !== undefined) run.committed = record;
    },
    ended(report) {
      const run = runs.get(report.host);
      if (report.purpose !== "backup" || run === undefined) return;
      runs.delete(report.host);
      note(() => endOf(run, report));
    },
    fault(host, error) {
      log("error", `a fault of the server in a session: ${messageOf(error)}`, {
        host,
        stack: error instanceof Error ? error.stack : undefined,
      });
    },
  };

  return {
    observer,
    async admitHost(name) {
      const host = await knownHost(database, name);
      if (host.state !== "active" || host.keys === undefined) {
        throw new RefusedError(`the host "${host.name}" may not connect: it is ${host.state}`, {
          hint: "an administrator of the server can change that",
        });
      }
      const policy = await findPolicy(database, host.policy);
      const isWanted = await isRunWanted(database, host.id);
      hosts.set(name, { host, isWanted });
      return {
        name,
        signingKeys: [Buffer.from(host.keys.signingKey, "base64")],
        mode: host.keyMode,
        // Whoever asks for a run means it.
        minimumIntervalMs: isWanted ? 0 : policy.minimumIntervalMinutes * 60_000,
        policy: hostPolicyOf(policy),
        account: await accountOf(host.account),
      };
    },
    async asked(name) {
      const host = await knownHost(database, name);
      const atMs = nowMs();
      const asked = database.updateTable("hosts").set({ asked_ms: atMs }).where("id", "=", host.id);
      // An agent that asks all the time makes the disc no busier.
      const later = asked.where((is) => is.or([is("asked_ms", "is", null), is("asked_ms", "<", atMs - ASKED_MS)]));
      // A disc that is full is no reason not to answer.
      await later
        .execute()
        .catch((error: unknown) => log("error", `an agent's asking was not noted: ${messageOf(error)}`));
      return nextRunOf(database, host, atMs);
    },
    refused(name, error) {
      const hint = error instanceof HoldfastError && error.hint !== undefined ? ` (${error.hint})` : "";
      log("warning", `a host was refused: ${messageOf(error)}`, { host: name });
      note(async () => noteRefusal(database, (await findHost(database, name)).id, messageOf(error) + hint, nowMs()));
    },
    runningBackups: (account) => [...runs.values()].filter(({ host }) => host.account === account).length,
    async settled() {
      await noted;
    },
  };
}

const ASKED_MS = 60_000;

async function knownHost(database: Database, name: string): Promise<Host> {
  try {
    return await findHost(database, name);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new RefusedError(`this server knows no host "${name}"`, { hint: 'enrol it with "holdfast agent setup"' });
  }
}

/** 32 bytes that are made once. */
function keptSecret(file: string): Buffer {
  if (existsSync(file)) {
    const secret = readFileSync(file);
    if (secret.length === 32) return secret;
  }
  const secret = randomBytes(32);
  writeFileDurably(file, secret);
  return secret;
}
