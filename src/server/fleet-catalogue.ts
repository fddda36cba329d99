import { RefusedError } from "../errors.ts";
import type { Database } from "../fleet/database/open.ts";
import type { HostCatalogue } from "./host-catalogue.ts";
import { originsOf } from "./memory-catalogue.ts";

/** The catalogue of an account in the server's database. `onSnapshot` is told of each snapshot that is noted for a host. */
export function createFleetCatalogue(
  database: Database,
  accountId: number,
  onSnapshot: (host: string, id: string) => Promise<void>,
): HostCatalogue {
  return {
    async packsOf(host) {
      const rows = await database
        .selectFrom("packs")
        .select(["pack as id", "size_bytes as sizeBytes", "frames"])
        .where("account_id", "=", accountId)
        .where("host", "=", host)
        .execute();
      return new Map(rows.map((row) => [row.id, row]));
    },
    async indexesOf(host) {
      const rows = await database
        .selectFrom("indexes")
        .select("object")
        .where("account_id", "=", accountId)
        .where("host", "=", host)
        .execute();
      return new Set(rows.map(({ object }) => object));
    },
    async snapshotsOf(host) {
      const rows = await database
        .selectFrom("snapshots")
        .select(["id", "time_ms as timeMs"])
        .where("account_id", "=", accountId)
        .where("host", "=", host)
        .execute();
      return new Map(rows.map((row) => [row.id, row]));
    },
    async ownerOf(kind, id) {
      const { table, column } = PLACES[kind];
      const { ref, table: tableOf } = database.dynamic;
      const row = await database
        .selectFrom(tableOf(table).as("owned"))
        .select("owned.host")
        .where("owned.account_id", "=", accountId)
        .where(ref(column), "=", id)
        .executeTakeFirst();
      return row?.host;
    },
    async ownerOfOrigin(origin) {
      const row = await database
        .selectFrom("origins")
        .select("host")
        .where("account_id", "=", accountId)
        .where("origin", "=", Buffer.from(origin).toString("hex"))
        .executeTakeFirst();
      return row?.host;
    },
    async addPack(host, pack) {
      const claimed = originsOf(pack.frames);
      await database.transaction().execute(async (transaction) => {
        for (const origin of claimed) {
          await transaction
            .insertInto("origins")
            .values({ account_id: accountId, origin, host })
            .onConflict((conflict) => conflict.doNothing())
            .execute();
          const owner = await transaction
            .selectFrom("origins")
            .select("host")
            .where("account_id", "=", accountId)
            .where("origin", "=", origin)
            .executeTakeFirstOrThrow();
          if (owner.host !== host) {
            throw new RefusedError(`pack ${pack.id.slice(0, 16)}… holds frames that are not this host's`);
          }
        }
        await transaction
          .insertInto("packs")
          .values({ account_id: accountId, pack: pack.id, host, size_bytes: pack.sizeBytes, frames: pack.frames })
          .onConflict((conflict) => conflict.doNothing())
          .execute();
      });
    },
    async addIndex(host, id) {
      await database
        .insertInto("indexes")
        .values({ account_id: accountId, object: id, host })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    },
    addSnapshot: (host, { id }) => onSnapshot(host, id),
  };
}

const PLACES = {
  pack: { table: "packs", column: "pack" },
  index: { table: "indexes", column: "object" },
  snapshot: { table: "snapshots", column: "id" },
} as const;
