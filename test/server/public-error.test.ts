import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { ConnectionError, RefusedError, StorageError } from "../../src/errors.ts";
import { publicError } from "../../src/server/public-error.ts";
import { diskError } from "../../src/storage/disk-error.ts";
import { forgePack, hostileAgent } from "./hostile-agent.ts";
import { createTestFleet } from "./test-fleet.ts";

function errno(code: string): Error {
  return Object.assign(new Error(`${code}: write`), { code });
}

test("a host learns that the server's disc is full, and of its storage nothing else", () => {
  const full = [
    errno("ENOSPC"),
    errno("EDQUOT"),
    diskError(errno("ENOSPC"), "storing packs/ab", "/srv/secret"),
    Object.assign(new Error("database or disk is full"), { code: "ERR_SQLITE_ERROR", errcode: 13 }),
  ];
  for (const error of full) {
    const told = publicError(error);
    assert.ok(told instanceof RefusedError);
    assert.match(told.message, /the server's disc is full/);
  }
  const other = publicError(diskError(errno("EIO"), "storing packs/ab", "/srv/secret"));
  assert.ok(other instanceof StorageError);
  assert.doesNotMatch(`${other.message} ${other.hint}`, /secret|EIO/);
  const gone = new ConnectionError("gone");
  assert.equal(publicError(gone), gone);
});

test("quota and space are asked before any content is taken, and hear how much of it came", async (t) => {
  const refusal = new RefusedError("the host's quota is used up");
  const settled: number[] = [];
  let isFull = true;
  const fleet = await createTestFleet(t, {
    account: {
      async admit() {
        if (isFull) throw refusal;
        return (arrivedBytes) => settled.push(arrivedBytes);
      },
    },
    session: {
      uploads: {
        heldBytes: async () => 0,
        forget: async () => undefined,
        async receive({ content }, store) {
          assert.ok(!isFull, "content was taken");
          const pieces: Uint8Array[] = [];
          for await (const piece of content) pieces.push(piece);
          return store(Buffer.concat(pieces));
        },
      },
    },
  });
  fleet.addHost("web1");
  const agent = await hostileAgent(fleet, "web1");
  t.after(() => agent.connection.close());
  const pack = forgePack(fleet.owner.ring, [randomBytes(1000)]);
  await assert.rejects(agent.put(pack.name, pack.bytes), /quota is used up/);
  isFull = false;
  await agent.put(pack.name, pack.bytes);
  assert.deepEqual(settled, [pack.bytes.length]);
  assert.deepEqual(fleet.faults, []);
});
