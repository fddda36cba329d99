/** What runs that the server does itself share: their log, the part of the repository that is the host's, their record. */
import type { BackupResult } from "../../backup/backup.ts";
import { HoldfastError, messageOf } from "../../errors.ts";
import { discSpace, openAccountRepository, type Account } from "../../fleet/accounts.ts";
import type { MeasureSpace, Permit } from "../../fleet/admission.ts";
import { noteSnapshot } from "../../fleet/catalogue.ts";
import type { Database } from "../../fleet/database/open.ts";
import { listHosts, type Host } from "../../fleet/hosts.ts";
import { logRun, type LogLine, type RunEnd } from "../../fleet/runs.ts";
import { displayPath } from "../../platform/raw-path.ts";
import type { Repository } from "../../repository/repository.ts";
import { readSnapshot } from "../../repository/snapshots.ts";
import type { SourceProblem } from "../../source/source.ts";
import { createFleetCatalogue } from "../fleet-catalogue.ts";
import { objectsOf } from "../own-objects.ts";
import { meteredStorage } from "./metered-storage.ts";
import { printable } from "./pull-ssh.ts";

export interface RunContext {
  readonly database: Database;
  readonly dataFolder: string;
  readonly nowMs: () => number;
  /** Name and version. */
  readonly program: string;
  readonly measure?: MeasureSpace;
  readonly signal?: AbortSignal | undefined;
}

/** A host that was let in, and what it may store. */
export interface AdmittedRun {
  readonly host: Host;
  readonly account: Account;
  readonly permit: Permit;
}

/** So many files that could not be read are named in a run's log. */
const MOST_NAMED_PROBLEMS = 1000;

/** An error for a run's record, with what to do. A host may have had its part in the words. */
export function textOf(error: unknown): string {
  const hint = error instanceof HoldfastError && error.hint !== undefined ? ` (${error.hint})` : "";
  return printable(messageOf(error) + hint);
}

export interface RunLog {
  readonly say: (level: LogLine["level"], message: string) => void;
  readonly problem: (problem: SourceProblem) => void;
  settled(): Promise<void>;
}

export function openRunLog({ database, nowMs }: RunContext, runId: number): RunLog {
  let written: Promise<unknown> = Promise.resolve();
  let problems = 0;
  const say: RunLog["say"] = (level, message) => {
    const atMs = nowMs();
    written = written.then(() => logRun(database, runId, level, printable(message), atMs)).catch(() => undefined);
  };
  return {
    say,
    problem({ path, during, error }) {
      if (++problems <= MOST_NAMED_PROBLEMS) say("warning", `${during} /${displayPath(path)}: ${messageOf(error)}`);
    },
    async settled() {
      if (problems > MOST_NAMED_PROBLEMS) say("warning", `and ${problems - MOST_NAMED_PROBLEMS} more`);
      await written;
    },
  };
}

export interface OwnRepository {
  /** As if it held this host's objects alone, so that each host can be pruned by itself. */
  readonly repository: Repository;
  readonly storedBytes: () => number;
  /** Notes the snapshot, and gives what is to be recorded of the run. `problems` are those that the result does not know. */
  recordSuccess(result: BackupResult, problems?: number): Promise<RunEnd>;
}

/** Opens the account's repository for a run of one host, and closes it afterwards. */
export async function withOwnRepository<Result>(
  { database, dataFolder, measure = discSpace }: RunContext,
  { host, account, permit }: AdmittedRun,
  work: (own: OwnRepository) => Promise<Result>,
): Promise<Result> {
  const whole = await openAccountRepository(dataFolder, account);
  try {
    const catalogue = createFleetCatalogue(database, account.id, async () => undefined);
    const hosts = (await listHosts(database)).filter(({ accountId }) => accountId === account.id);
    const others = new Set(hosts.map(({ name }) => name).filter((name) => name !== host.name));
    const own = objectsOf(whole.storage, catalogue, host.name, others);
    const storage = meteredStorage(own, { host, account, permit, measure });
    return await work({
      repository: { ...whole, storage },
      storedBytes: storage.storedBytes,
      async recordSuccess(result, problems = 0) {
        await noteSnapshot(database, account.id, await readSnapshot(whole, result.snapshotId));
        const storedBytes = storage.storedBytes();
        await database
          .updateTable("hosts")
          .set((row) => ({ used_bytes: row("used_bytes", "+", storedBytes) }))
          .where("id", "=", host.id)
          .execute();
        return {
          state: result.problems + problems > 0 ? "incomplete" : "succeeded",
          snapshot: result.snapshotId,
          files: result.totalFiles,
          sizeBytes: result.totalBytes,
          addedBytes: result.addedBytes,
          storedBytes,
          suddenGrowth: storedBytes > permit.usualLimitBytes,
        };
      },
    });
  } finally {
    await whole.storage.close();
  }
}
