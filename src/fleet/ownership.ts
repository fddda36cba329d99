/**
 * Whose frames and packs are whose. A host may leave out only blobs that it stored itself or that its own snapshots hold,
 * so the server remembers who brought which origin and which pack. What a lost database forgets, snapshots tell again
 * (`syncCatalogue` notes the origins that they need); packs without a snapshot are then nobody's, and pruned.
 */
import type { Database } from "./database/open.ts";

/** Origins (base64) of frames that a host stored, or that its snapshots need. */
export async function originsOfHost(database: Database, accountId: number, host: string): Promise<Set<string>> {
  const rows = await database
    .selectFrom("origins")
    .select("origin")
    .where("account_id", "=", accountId)
    .where("host", "=", host)
    .execute();
  return new Set(rows.map(({ origin }) => origin));
}

/** Packs (hex) that a host stored. */
export async function packsOfHost(database: Database, accountId: number, host: string): Promise<Set<string>> {
  const rows = await database
    .selectFrom("packs")
    .select("pack")
    .where("account_id", "=", accountId)
    .where("host", "=", host)
    .execute();
  return new Set(rows.map(({ pack }) => pack));
}

/** All hosts that an origin (base64) belongs to; none where it is unknown. */
export async function hostsOfOrigin(database: Database, accountId: number, origin: string): Promise<string[]> {
  const rows = await database
    .selectFrom("origins")
    .select("host")
    .where("account_id", "=", accountId)
    .where("origin", "=", origin)
    .execute();
  return rows.map(({ host }) => host);
}

/** To be called when a pack is durable, and before the host is told so. */
export async function notePack(
  database: Database,
  accountId: number,
  host: string,
  pack: string,
  origins: readonly string[],
): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("packs")
      .values({ account_id: accountId, pack, host })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    for (const origin of origins) {
      await transaction
        .insertInto("origins")
        .values({ account_id: accountId, origin, host })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  });
}

/** Forgets packs that are gone. */
export async function dropPacks(database: Database, accountId: number, gone: readonly string[]): Promise<void> {
  for (let start = 0; start < gone.length; start += 500) {
    await database
      .deleteFrom("packs")
      .where("account_id", "=", accountId)
      .where("pack", "in", gone.slice(start, start + 500))
      .execute();
  }
}
