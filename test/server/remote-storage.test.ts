import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { openRemoteStorage, type RemoteStorageOptions } from "../../src/agent/remote-storage.ts";
import { ConnectionError, InterruptedError } from "../../src/errors.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import { storageConformance } from "../../src/storage/storage.conformance.ts";
import type { Storage, StoredObject } from "../../src/storage/storage.ts";
import type { ByteChannel } from "../../src/wire/connection.ts";
import { METHODS } from "../../src/wire/storage-calls.ts";
import { removeTree, temporaryFolder } from "../support/temporary-folder.ts";
import { serveStorage, type ServedStorageServer } from "./served-storage.ts";

const COMMON = { location: "server", purpose: "read", program: "test", retryDelaysMs: [] } as const;

function optionsFor(connect: RemoteStorageOptions["connect"], more: Partial<RemoteStorageOptions> = {}) {
  return { ...COMMON, connect, ...more };
}

storageConformance("a server's storage over the wire", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-wire-"));
  const server = await serveStorage(memoryStorage(), folder);
  const storage = await openRemoteStorage(optionsFor(server.connect));
  return {
    storage,
    async dispose() {
      await storage.close();
      await removeTree(folder);
    },
  };
});

async function namesOf(storage: Storage, prefix: string): Promise<string[]> {
  const objects: StoredObject[] = [];
  for await (const object of storage.list(prefix)) objects.push(object);
  return objects.map(({ name }) => name).sort();
}

const hashName = (folder: string, content: Uint8Array): string =>
  folder + createHash("sha256").update(content).digest("hex");

/** Connections to the server, all of which break once this much has been sent to it. */
function breakingAfter(bytes: number, { connect, cut }: ServedStorageServer): () => ByteChannel {
  let left = bytes;
  return () => {
    const channel = connect();
    const write = channel.output.write.bind(channel.output) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
    channel.output.write = ((chunk: Uint8Array, ...rest: unknown[]) => {
      const hadMore = left > 0;
      left -= chunk.length;
      if (hadMore && left <= 0) setImmediate(cut);
      return write(chunk, ...rest);
    }) as typeof channel.output.write;
    return channel;
  };
}

test("sends only the rest of an upload whose connection broke", async (t) => {
  const stored = memoryStorage();
  const server = await serveStorage(stored, temporaryFolder(t));
  const content = randomBytes(24 * 1024 * 1024);
  const retries: unknown[] = [];
  const breaksOnce = breakingAfter(10 * 1024 * 1024, server);
  const remote = await openRemoteStorage(
    optionsFor(breaksOnce, { retryDelaysMs: [50, 50], onRetry: (error) => retries.push(error) }),
  );
  t.after(() => remote.close());
  assert.equal(await remote.put("packs/aa/large", [content.subarray(0, 5), content.subarray(5)]), true);
  assert.ok(Buffer.from(await stored.get("packs/aa/large")).equals(content));
  assert.equal(retries.length, 1);
  assert.ok(retries[0] instanceof ConnectionError);
  // What was under way in pipes when the line broke is sent again, but nothing that had arrived.
  assert.ok(remote.traffic.sentBytes < content.length * 1.3, `${remote.traffic.sentBytes} bytes were sent`);
});

test("keeps nothing of broken uploads once the run has its snapshot", async (t) => {
  const folder = temporaryFolder(t);
  const server = await serveStorage(memoryStorage(), folder);
  const remote = await openRemoteStorage(
    optionsFor(breakingAfter(4 * 1024 * 1024, server), { retryDelaysMs: [], onRetry: () => undefined }),
  );
  await assert.rejects(remote.put("packs/aa/large", [randomBytes(8 * 1024 * 1024)]), ConnectionError);
  await remote.close();
  for (let tries = 0; readdirSync(folder).length === 0 && tries < 300; tries++) await wait(20);
  assert.equal(readdirSync(folder).length, 1);
  const next = await openRemoteStorage(optionsFor(server.connect));
  t.after(() => next.close());
  await next.put("packs/aa/small", [randomBytes(300)]);
  assert.equal(readdirSync(folder).length, 1, "the run may still come to it");
  // It takes a moment until the server has noticed that the first one is gone.
  for (let run = 10; readdirSync(folder).length > 0 && run < 99; run++) {
    await next.put(`snapshots/a${run}`, [randomBytes(300)]);
    await wait(20);
  }
  assert.deepEqual(readdirSync(folder), []);
});

test("asks again over a new connection what a broken one did not answer", async (t) => {
  const stored = memoryStorage();
  await stored.put("keys/one", [Buffer.from("content")]);
  const server = await serveStorage(stored, temporaryFolder(t));
  const remote = await openRemoteStorage(optionsFor(server.connect, { retryDelaysMs: [10, 10] }));
  t.after(() => remote.close());
  for (let round = 0; round < 5; round++) {
    server.cut();
    assert.equal(Buffer.from(await remote.get("keys/one")).toString(), "content");
    server.cut();
    assert.deepEqual(await namesOf(remote, "keys/"), ["keys/one"]);
  }
});

test("gives up when all its tries have failed, and says why", async (t) => {
  const server = await serveStorage(memoryStorage(), temporaryFolder(t));
  let connections = 0;
  const remote = await openRemoteStorage(
    optionsFor(
      () => {
        if (connections++ > 0) throw new ConnectionError("no route to the server");
        return server.connect();
      },
      { retryDelaysMs: [5, 5, 5] },
    ),
  );
  t.after(() => remote.close());
  server.cut();
  await assert.rejects(remote.get("keys/one"), /no route to the server/);
  assert.equal(connections, 4);
});

test("stops at once when it is interrupted while it waits to connect again", async (t) => {
  const server = await serveStorage(memoryStorage(), temporaryFolder(t));
  const abort = new AbortController();
  const remote = await openRemoteStorage(optionsFor(server.connect, { retryDelaysMs: [60_000], signal: abort.signal }));
  t.after(() => remote.close());
  server.cut();
  setTimeout(() => abort.abort(new InterruptedError("stopped")), 50);
  await assert.rejects(remote.get("keys/one"), InterruptedError);
});

test("fetches an index and an unchanged listing only once, and forgets what is gone", async (t) => {
  const stored = memoryStorage();
  const contents = Array.from({ length: 600 }, (_, number) => Buffer.from(`index ${number}`));
  for (const content of contents) await stored.put(hashName("index/", content), [content]);
  const server = await serveStorage(stored, temporaryFolder(t));
  const cacheFolder = temporaryFolder(t);
  const open = () => openRemoteStorage(optionsFor(server.connect, { cacheFolder }));

  const first = await open();
  const names = await namesOf(first, "index/");
  assert.equal(names.length, 600);
  for (const name of names) await first.get(name);
  await first.close();
  assert.ok(first.traffic.receivedBytes > 600 * 35);

  server.requests.length = 0;
  const second = await open();
  assert.deepEqual(await namesOf(second, "index/"), names);
  for (const name of names) await second.get(name);
  await second.close();
  assert.deepEqual(server.requests.filter((method) => method === METHODS.get).length, 1, "the config alone");
  assert.ok(second.traffic.receivedBytes < 1000, `${second.traffic.receivedBytes} bytes`);

  const added = Buffer.from("one more");
  await stored.put(hashName("index/", added), [added]);
  await stored.delete(names[0]);
  const third = await open();
  const expected = [...names.slice(1), hashName("index/", added)].sort();
  assert.deepEqual(await namesOf(third, "index/"), expected);
  await third.close();
  assert.ok(third.traffic.receivedBytes < 2000, `${third.traffic.receivedBytes} bytes for one name more and one less`);
});

test("does not believe a cache that was tampered with, nor a server whose objects do not match their names", async (t) => {
  const stored = memoryStorage();
  const good = Buffer.from("an index");
  const wrong = `index/${"ab".repeat(32)}`;
  await stored.put(hashName("index/", good), [good]);
  await stored.put(wrong, [Buffer.from("something else")]);
  const server = await serveStorage(stored, temporaryFolder(t));
  const cacheFolder = temporaryFolder(t);
  const remote = await openRemoteStorage(optionsFor(server.connect, { cacheFolder }));
  t.after(() => remote.close());
  await assert.rejects(remote.get(wrong), /do not match its name/);
  await remote.get(hashName("index/", good));
  const [file] = readdirSync(path.join(cacheFolder, "index"));
  writeFileSync(path.join(cacheFolder, "index", file), "an indeX");
  assert.equal(Buffer.from(await remote.get(hashName("index/", good))).toString(), "an index");
});
