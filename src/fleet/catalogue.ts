/**
 * The catalogue: what stands in the repositories, so that questions about it need no storage. It follows the
 * repositories and can be made anew from them at any time; a snapshot is where its record is, whatever stands here.
 */
import { DamagedError, ObjectMissingError } from "../errors.ts";
import type { Repository } from "../repository/repository.ts";
import { readSnapshot, type SnapshotRecord } from "../repository/snapshots.ts";
import { PREFIXES, parseObjectName } from "../format/names.ts";
import type { StoredSnapshot } from "../retention/space.ts";
import type { Database } from "./database/open.ts";

export interface CatalogueSnapshot extends StoredSnapshot {
  readonly accountId: number;
  readonly files: number;
  readonly sizeBytes: number;
  readonly addedBytes: number;
  readonly storedBytes: number;
  readonly complete: boolean;
}

export interface SnapshotQuery {
  readonly accountId?: number | undefined;
  readonly host?: string | undefined;
  readonly limit?: number | undefined;
}

/** When the latest snapshot of a host was taken, ms since 1970; undefined where there is none. */
export async function latestSnapshotMs(
  database: Database,
  host: { readonly accountId: number; readonly name: string },
): Promise<number | undefined> {
  const latest = await database
    .selectFrom("snapshots")
    .select("time_ms")
    .where("account_id", "=", host.accountId)
    .where("host", "=", host.name)
    .orderBy("time_ms", "desc")
    .limit(1)
    .executeTakeFirst();
  return latest?.time_ms;
}

/** The latest first. */
export async function listCatalogue(database: Database, query: SnapshotQuery = {}): Promise<CatalogueSnapshot[]> {
  let select = database
    .selectFrom("snapshots")
    .leftJoin("runs", "runs.snapshot", "snapshots.id")
    .select([
      "snapshots.id",
      "snapshots.account_id",
      "snapshots.host",
      "snapshots.time_ms",
      "snapshots.group_id",
      "snapshots.files",
      "snapshots.size_bytes",
      "snapshots.added_bytes",
      "snapshots.stored_bytes",
      "snapshots.complete",
      "snapshots.verified_ms",
      "runs.sudden_growth",
      "runs.accepted",
    ])
    .orderBy("snapshots.time_ms", "desc");
  if (query.accountId !== undefined) select = select.where("snapshots.account_id", "=", query.accountId);
  if (query.host !== undefined) select = select.where("snapshots.host", "=", query.host);
  if (query.limit !== undefined) select = select.limit(query.limit);
  return (await select.execute()).map((row) => ({
    id: row.id,
    accountId: row.account_id,
    host: row.host,
    timeMs: row.time_ms,
    group: row.group_id,
    files: row.files,
    sizeBytes: row.size_bytes,
    addedBytes: row.added_bytes,
    storedBytes: row.stored_bytes,
    complete: row.complete === 1,
    verified: row.verified_ms !== null,
    suddenGrowth: row.sudden_growth === 1 && row.accepted !== 1,
    paths: [],
    tags: [],
  }));
}

/** Notes a snapshot. Doing it again changes nothing. */
export async function noteSnapshot(database: Database, accountId: number, snapshot: SnapshotRecord): Promise<void> {
  await noteSnapshots(database, accountId, [snapshot]);
}

async function noteSnapshots(
  database: Database,
  accountId: number,
  snapshots: readonly SnapshotRecord[],
): Promise<void> {
  const rows = snapshots.map(({ id, timeMs, record: { open, signer } }) => ({
    id,
    account_id: accountId,
    host: open.host,
    time_ms: timeMs,
    group_id: open.group,
    files: open.files,
    size_bytes: open.sizeBytes,
    added_bytes: open.addedBytes,
    stored_bytes: open.storedBytes,
    complete: open.complete ? 1 : 0,
    verified_ms: null,
    signer: signer.toString("base64"),
  }));
  await database.transaction().execute(async (transaction) => {
    for (const some of inParts(rows)) {
      await transaction
        .insertInto("snapshots")
        .values(some)
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  });
}

/** SQLite takes some 32,000 values in a statement. */
function* inParts<Row>(rows: readonly Row[]): Generator<Row[]> {
  for (let start = 0; start < rows.length; start += 500) yield rows.slice(start, start + 500);
}

/** Takes snapshots off the catalogue. */
export async function dropSnapshots(database: Database, accountId: number, ids: readonly string[]): Promise<void> {
  for (const some of inParts(ids)) {
    await database.deleteFrom("snapshots").where("account_id", "=", accountId).where("id", "in", some).execute();
  }
}

/** Snapshots that were proven whole. */
export async function noteVerified(
  database: Database,
  accountId: number,
  ids: readonly string[],
  nowMs: number,
): Promise<void> {
  for (const some of inParts(ids)) {
    await database
      .updateTable("snapshots")
      .set({ verified_ms: nowMs })
      .where("account_id", "=", accountId)
      .where("id", "in", some)
      .execute();
  }
}

export interface CatalogueSync {
  readonly added: number;
  readonly dropped: number;
  readonly damaged: readonly string[];
}

/** Brings the catalogue in line with a repository, reading only records that it does not know. */
export async function syncCatalogue(
  database: Database,
  accountId: number,
  repository: Pick<Repository, "storage" | "config">,
): Promise<CatalogueSync> {
  const known = await database.selectFrom("snapshots").select("id").where("account_id", "=", accountId).execute();
  const knownIds = new Set(known.map(({ id }) => id));
  const unknown: string[] = [];
  const present = new Set<string>();
  for await (const { name } of repository.storage.list(PREFIXES.snapshot)) {
    const id = parseObjectName(name)?.id;
    if (id === undefined) continue;
    present.add(id);
    if (!knownIds.has(id)) unknown.push(id);
  }
  const damaged: string[] = [];
  const records: SnapshotRecord[] = [];
  const remaining = unknown.values();
  async function readSome(): Promise<void> {
    for (const id of remaining) {
      try {
        records.push(await readSnapshot(repository, id));
      } catch (error) {
        if (!(error instanceof DamagedError || error instanceof ObjectMissingError)) throw error;
        damaged.push(id);
      }
    }
  }
  await Promise.all(Array.from({ length: READS_AT_ONCE }, readSome));
  await noteSnapshots(database, accountId, records);
  const gone = [...knownIds].filter((id) => !present.has(id));
  await dropSnapshots(database, accountId, gone);
  return { added: records.length, dropped: gone.length, damaged };
}

const READS_AT_ONCE = 16;
