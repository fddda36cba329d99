import { asBuffer } from "../format/codec.ts";
import { decodeFrameSet } from "../format/frame-set.ts";
import { decodeIndex } from "../format/index-object.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import { readDirectory } from "../format/pack.ts";
import type { Database } from "../fleet/database/open.ts";
import { listPacks } from "../repository/index-loader.ts";
import type { SnapshotRecord } from "../repository/snapshots.ts";
import type { Storage } from "../storage/storage.ts";
import { frameSetOf } from "./check-objects.ts";
import type { HostCatalogue } from "./host-catalogue.ts";

export interface Reconciled {
  /**
   * Some snapshot needs frames that are not its host's, or a pack holds frames of several hosts: the repository was written
   * to without the server, by hosts that shared what they stored.
   */
  readonly mixed: boolean;
  readonly addedPacks: number;
}

/**
 * Brings what the database knows of owners in line with the repository: snapshots tell whose an origin is, origins tell it
 * of packs, and packs of indexes. What is known already is not read again; what is gone is forgotten.
 */
export async function reconcileOwnership(
  database: Database,
  accountId: number,
  storage: Storage,
  catalogue: HostCatalogue,
  snapshots: readonly SnapshotRecord[],
): Promise<Reconciled> {
  const owners = await knownOwners(database, accountId);
  const claims = new Map<string, string>();
  let mixed = false;
  for (const { id, record } of snapshots) {
    const { host } = record.open;
    const set = decodeFrameSet(record.frameSetBytes, `frame set of snapshot ${id.slice(0, 8)}`);
    for (let number = 0; number < set.originCount; number++) {
      const origin = asBuffer(set.origins).toString("hex", number * 32, number * 32 + 32);
      const owner = owners.get(origin);
      if (owner === undefined) {
        owners.set(origin, host);
        claims.set(origin, host);
      } else if (owner !== host) mixed = true;
    }
  }
  await database.transaction().execute(async (transaction) => {
    for (const [origin, host] of claims) {
      await transaction
        .insertInto("origins")
        .values({ account_id: accountId, origin, host })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  });

  const present = await listPacks({ storage });
  const known = await database
    .selectFrom("packs")
    .select(["pack", "host"])
    .where("account_id", "=", accountId)
    .execute();
  const ownerOfPack = new Map(known.map(({ pack, host }) => [pack, host]));
  let addedPacks = 0;
  for (const [id, sizeBytes] of present) {
    if (ownerOfPack.has(id)) continue;
    const frames = await readDirectory(storage, id, sizeBytes);
    const hosts = new Set(frames.flatMap(({ origin }) => owners.get(origin.toString("hex")) ?? []));
    if (hosts.size > 1) mixed = true;
    if (hosts.size !== 1) continue;
    const [host] = hosts;
    await catalogue.addPack(host, { id, sizeBytes, frames: frameSetOf(frames) });
    ownerOfPack.set(id, host);
    addedPacks++;
  }
  await forgetGone(
    database,
    accountId,
    "packs",
    "pack",
    [...ownerOfPack.keys()].filter((id) => !present.has(id)),
  );
  await reconcileIndexes(database, accountId, storage, catalogue, ownerOfPack);
  return { mixed, addedPacks };
}

async function knownOwners(database: Database, accountId: number): Promise<Map<string, string>> {
  const rows = await database
    .selectFrom("origins")
    .select(["origin", "host"])
    .where("account_id", "=", accountId)
    .execute();
  return new Map(rows.map(({ origin, host }) => [origin, host]));
}

/** An index that lists packs of several hosts stays nobody's. */
async function reconcileIndexes(
  database: Database,
  accountId: number,
  storage: Storage,
  catalogue: HostCatalogue,
  ownerOfPack: ReadonlyMap<string, string>,
): Promise<void> {
  const known = await database.selectFrom("indexes").select("object").where("account_id", "=", accountId).execute();
  const gone = new Set(known.map(({ object }) => object));
  const unknown: string[] = [];
  for await (const { name } of storage.list(PREFIXES.index)) {
    const id = parseObjectName(name)?.id;
    if (id !== undefined && !gone.delete(id)) unknown.push(id);
  }
  for (const id of unknown) {
    const index = decodeIndex(await storage.get(PREFIXES.index + id), `index ${id.slice(0, 16)}…`);
    const hosts = new Set<string | undefined>();
    for (let pack = 0; pack < index.packCount; pack++) {
      hosts.add(ownerOfPack.get(index.packNames.toString("hex", pack * 32, pack * 32 + 32)));
    }
    const [host] = hosts;
    if (hosts.size === 1 && host !== undefined) await catalogue.addIndex(host, id);
  }
  await forgetGone(database, accountId, "indexes", "object", [...gone]);
}

async function forgetGone(
  database: Database,
  accountId: number,
  table: "packs" | "indexes",
  column: "pack" | "object",
  gone: readonly string[],
): Promise<void> {
  const { ref, table: tableOf } = database.dynamic;
  for (let start = 0; start < gone.length; start += 500) {
    await database
      .deleteFrom(tableOf(table).as("owned"))
      .where("owned.account_id", "=", accountId)
      .where(ref(column), "in", gone.slice(start, start + 500))
      .execute();
  }
}
