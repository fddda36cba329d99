/** S3 storage with Ceph's gateway, where it is installed: `apt-get install radosgw ceph-mon ceph-osd`. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createStorage, openStorage } from "../../src/storage/open.ts";
import { storageConformance } from "../../src/storage/storage.conformance.ts";
import type { Cleanup } from "../support/at-end.ts";
import { skipUnless } from "../support/requirements.ts";
import { CEPH_COMMANDS, CEPH_KEY, startCephGateway } from "./ceph-gateway.ts";

describe("S3 storage on Ceph", { skip: skipUnless({ root: true, commands: CEPH_COMMANDS }) }, () => {
  const undo: (() => void | Promise<void>)[] = [];
  const all: Cleanup = { after: (hook) => void undo.push(hook as () => Promise<void>) };
  let endpoint = "";
  let cases = 0;

  before(async () => {
    process.env.AWS_ACCESS_KEY_ID = CEPH_KEY.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = CEPH_KEY.secretAccessKey;
    endpoint = await startCephGateway(all);
  });
  after(async () => {
    for (const step of undo) await step();
  });

  storageConformance("a prefix in a bucket of Ceph", async () => {
    const storage = await createStorage(`s3:${endpoint}/holdfast/case/${cases++}`);
    return { storage, dispose: () => storage.close() };
  });

  it("lists page by page", async () => {
    const storage = await createStorage(`s3:${endpoint}/pages`);
    const names = Array.from({ length: 1203 }, (_, index) => `packs/${index % 16}/${index}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(names.slice(at, at + 50).map((name) => storage.put(name, [Buffer.from(name)])));
    }
    const listed: string[] = [];
    for await (const { name } of storage.list("")) listed.push(name);
    assert.deepEqual(listed.sort(), names.sort());
    await storage.close();
  });

  it("keeps puts of several clients apart", async () => {
    const storages = [await createStorage(`s3:${endpoint}/race`)];
    for (let more = 0; more < 3; more++) storages.push(await openStorage(`s3:${endpoint}/race`));
    for (let round = 0; round < 10; round++) {
      const stored = await Promise.all(
        storages.map((storage, index) => storage.put(`r${round}`, [Buffer.from([index])])),
      );
      assert.equal(stored.filter((won) => won).length, 1);
      assert.deepEqual([...(await storages[0].get(`r${round}`))], [stored.indexOf(true)]);
    }
    for (const storage of storages) await storage.close();
  });

  it("names a wrong secret", async (t) => {
    t.after(() => (process.env.AWS_SECRET_ACCESS_KEY = CEPH_KEY.secretAccessKey));
    process.env.AWS_SECRET_ACCESS_KEY = "wrong";
    await assert.rejects(openStorage(`s3:${endpoint}/pages`), { code: "storage", hint: /AWS_SECRET_ACCESS_KEY/ });
  });
});
