import assert from "node:assert/strict";
import { test } from "node:test";
import { RefusedError } from "../errors.ts";
import { openMemoryDatabase } from "../fleet/database/open.ts";
import { recordAccount } from "../fleet/accounts.ts";
import { encodeFrameSet } from "../format/frame-set.ts";
import { createFleetCatalogue } from "./fleet-catalogue.ts";
import type { HostCatalogue } from "./host-catalogue.ts";
import { createMemoryCatalogue } from "./memory-catalogue.ts";

async function fleetCatalogue(): Promise<HostCatalogue> {
  const database = openMemoryDatabase();
  const account = { name: "a", storageUrl: "/srv/a", keyMode: "server", quota: {}, createdMs: 0 } as const;
  const { id } = await recordAccount(database, account);
  return createFleetCatalogue(database, id, async (host, snapshot) => {
    const rest = { group_id: "", files: 0, size_bytes: 0, added_bytes: 0, stored_bytes: 0, complete: 1, signer: "" };
    await database
      .insertInto("snapshots")
      .values({ id: snapshot, account_id: id, host, time_ms: 7, verified_ms: null, ...rest })
      .execute();
  });
}

const pack = (id: string, ...origins: number[]) => {
  const frames = origins.map((byte) => ({ origin: Buffer.alloc(32, byte), numbers: Uint32Array.of(0, 1) }));
  return { id, sizeBytes: 100, frames: encodeFrameSet(frames) };
};

for (const [name, open] of [
  ["in memory", async () => createMemoryCatalogue()],
  ["in the database", fleetCatalogue],
] as const) {
  test(`a catalogue ${name} knows whose each object is, and notes things twice without harm`, async () => {
    const catalogue = await open();
    for (let time = 0; time < 2; time++) {
      await catalogue.addPack("web", pack("p1", 1, 2));
      await catalogue.addIndex("web", "i1");
    }
    await catalogue.addPack("mail", pack("p2", 3));
    await catalogue.addSnapshot("mail", { id: "s1", timeMs: 7 });
    assert.deepEqual([...(await catalogue.packsOf("web")).keys()], ["p1"]);
    assert.deepEqual(
      Buffer.from((await catalogue.packsOf("web")).get("p1")!.frames),
      Buffer.from(pack("p1", 1, 2).frames),
    );
    assert.equal((await catalogue.packsOf("web")).get("p1")!.sizeBytes, 100);
    assert.deepEqual([...(await catalogue.indexesOf("web"))], ["i1"]);
    assert.deepEqual([...(await catalogue.indexesOf("mail"))], []);
    assert.equal((await catalogue.snapshotsOf("mail")).get("s1")?.timeMs, 7);
    assert.equal((await catalogue.snapshotsOf("web")).size, 0);
    assert.equal(await catalogue.ownerOf("pack", "p2"), "mail");
    assert.equal(await catalogue.ownerOf("index", "i1"), "web");
    assert.equal(await catalogue.ownerOf("snapshot", "s1"), "mail");
    assert.equal(await catalogue.ownerOf("pack", "i1"), undefined);
    assert.equal(await catalogue.ownerOfOrigin(Buffer.alloc(32, 2)), "web");
    assert.equal(await catalogue.ownerOfOrigin(Buffer.alloc(32, 9)), undefined);
  });

  test(`a catalogue ${name} takes nothing of a pack that names another host's origin`, async () => {
    const catalogue = await open();
    await catalogue.addPack("web", pack("p1", 5));
    await assert.rejects(catalogue.addPack("evil", pack("p2", 4, 5, 6)), RefusedError);
    assert.equal((await catalogue.packsOf("evil")).size, 0);
    assert.equal(await catalogue.ownerOfOrigin(Buffer.alloc(32, 4)), undefined);
    assert.equal(await catalogue.ownerOfOrigin(Buffer.alloc(32, 5)), "web");
  });
}
