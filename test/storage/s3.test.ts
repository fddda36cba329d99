/** S3 storage, with a server on loopback. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { DamagedError, NoRepositoryError, ObjectMissingError, StorageError, UsageError } from "../../src/errors.ts";
import { createStorage, openStorage, parseStorageUrl } from "../../src/storage/open.ts";
import { createS3Storage, openS3Storage } from "../../src/storage/s3/s3.ts";
import type { S3Place } from "../../src/storage/s3/s3.ts";
import { storageConformance } from "../../src/storage/storage.conformance.ts";
import type { Storage } from "../../src/storage/storage.ts";
import type { Cleanup } from "../support/at-end.ts";
import { S3_TEST_KEY, startS3Server } from "./s3-server.ts";
import type { S3Server } from "./s3-server.ts";

const NO_DELAYS = [0, 0, 0, 0];
const content = Buffer.from("content");

describe("S3 storage", () => {
  const undo: (() => void | Promise<void>)[] = [];
  const all: Cleanup = { after: (hook) => void undo.push(hook as () => Promise<void>) };
  let server: S3Server;
  let cases = 0;

  before(async () => {
    setKey();
    server = await startS3Server(all);
  });
  beforeEach(() => {
    server.mishap = () => undefined;
    server.requests.length = 0;
    server.conditions = "kept";
  });
  after(async () => {
    for (const step of undo) await step();
  });

  function placeOf(bucket: string, prefix = ""): S3Place {
    return { endpoint: new URL(server.endpoint), bucket, prefix };
  }

  async function freshStorage(): Promise<Storage> {
    return createS3Storage(placeOf(`bucket${cases++}`, "deep/er"), NO_DELAYS);
  }

  storageConformance("a bucket", async () => {
    const storage = await createStorage(`s3:${server.endpoint}/bucket${cases++}`);
    return { storage, dispose: () => storage.close() };
  });

  storageConformance("a prefix in a bucket, on a server that refuses conditions", async () => {
    server.conditions = "refused";
    const storage = await freshStorage();
    // One put tells it; what two at once do before that is not promised on such servers.
    await storage.put("first", [content]);
    await storage.delete("first");
    return { storage: oneAtATime(storage), dispose: () => storage.close() };
  });

  it("makes the bucket by creating, and not by opening", async () => {
    const url = `s3:${server.endpoint}/bucket${cases++}/prefix`;
    await assert.rejects(openStorage(url), NoRepositoryError);
    const created = await createStorage(url);
    assert.equal(created.location, url);
    await created.put("config", [content]);
    await createStorage(url);
    const opened = await openStorage(`${url}/`);
    assert.deepEqual(Buffer.from(await opened.get("config")), content);
  });

  it("sees nothing of other prefixes", async () => {
    const bucket = `bucket${cases++}`;
    const one = await createS3Storage(placeOf(bucket, "one"), NO_DELAYS);
    const other = await openS3Storage(placeOf(bucket, "on"), NO_DELAYS);
    await one.put("config", [content]);
    for await (const { name } of other.list("")) assert.fail(name);
    assert.equal(await other.stat("config"), undefined);
    assert.equal(await other.put("e/config", [content]), true);
  });

  it("lists page by page", async () => {
    const storage = await freshStorage();
    const names = Array.from({ length: 1203 }, (_, index) => `packs/${index % 16}/${index}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(names.slice(at, at + 50).map((name) => storage.put(name, [content])));
    }
    server.requests.length = 0;
    const listed: string[] = [];
    for await (const { name } of storage.list("")) listed.push(name);
    assert.deepEqual(listed.sort(), names.sort());
    assert.equal(server.requests.length, 2);
  });

  it("never replaces an object that another stored since it looked", async () => {
    const storage = await freshStorage();
    const other = await openS3Storage(placeOf(`bucket${cases - 1}`, "deep/er"), NO_DELAYS);
    server.mishap = (method) => {
      if (method !== "PUT") return undefined;
      server.mishap = () => undefined;
      // The put of the first is under way when the second's is done.
      return { answer: { status: 503 } };
    };
    const first = storage.put("config", [Buffer.from("first")]);
    await other.put("config", [content]);
    const stored = await first;
    assert.equal(Buffer.from(await storage.get("config")).toString(), stored ? "first" : "content");
    assert.equal(await storage.put("config", [Buffer.from("third")]), false);
  });

  it("asks again when the connection breaks or the server is busy, and is not misled by its own success", async () => {
    const mishaps = [
      { breakOff: "before" },
      { breakOff: "after" },
      { answer: { status: 503, body: "<Error><Code>SlowDown</Code></Error>" } },
      { answer: { status: 500 } },
      { answer: { status: 400, body: "<Error><Code>RequestTimeout</Code></Error>" } },
      { answer: { status: 409, body: "<Error><Code>ConditionalRequestConflict</Code></Error>" } },
    ] as const;
    for (const mishap of mishaps) {
      const storage = await freshStorage();
      const faultyOnce = (method: string): void => {
        server.mishap = (asked) => {
          if (asked !== method) return undefined;
          server.mishap = () => undefined;
          return mishap;
        };
      };
      faultyOnce("PUT");
      await storage.put("packs/a", [content]);
      faultyOnce("GET");
      assert.deepEqual(Buffer.from(await storage.get("packs/a")), content);
      // An answer to HEAD has no body to tell a code in.
      if (!("answer" in mishap) || mishap.answer.status >= 500) faultyOnce("HEAD");
      assert.equal((await storage.stat("packs/a"))?.sizeBytes, 7);
      faultyOnce("GET");
      for await (const { name } of storage.list("")) assert.equal(name, "packs/a");
      faultyOnce("DELETE");
      await storage.delete("packs/a");
      assert.equal(await storage.stat("packs/a"), undefined);
    }
  });

  it("never takes a body that was cut off for the whole", async () => {
    const storage = await freshStorage();
    const large = Buffer.alloc(1_000_000, "large");
    await storage.put("packs/a", [large]);
    let cuts = 0;
    server.mishap = (method) => (method === "GET" && cuts++ < 2 ? { cutAnswerAfterBytes: 500_000 } : undefined);
    assert.ok(large.equals(await storage.get("packs/a")));
    assert.equal(cuts, 3);
  });

  it("gives up after its last try, and says who does not answer", async () => {
    const storage = await freshStorage();
    server.mishap = () => ({ breakOff: "before" });
    server.requests.length = 0;
    await assert.rejects(storage.get("packs/a"), {
      name: "StorageError",
      message: /reading packs\/a failed: http:\/\/127\.0\.0\.1:\d+ cannot be reached/,
    });
    assert.equal(server.requests.length, NO_DELAYS.length + 1);
  });

  it("says at once, and in the server's words, what is refused", async () => {
    const storage = await freshStorage();
    const denied = {
      answer: { status: 403, body: "<Error><Code>AccessDenied</Code><Message>No\x1b.</Message></Error>" },
    };
    server.mishap = () => denied;
    server.requests.length = 0;
    const refusal = { name: "StorageError", message: /failed: 127\.0\.0\.1:\d+ answered AccessDenied/, hint: /right/ };
    await assert.rejects(storage.get("packs/a"), { ...refusal, message: /AccessDenied: No\?\.$/ });
    await assert.rejects(storage.put("packs/a", [content]), refusal);
    await assert.rejects(storage.delete("packs/a"), refusal);
    await assert.rejects(storage.stat("packs/a"), refusal);
    assert.equal(server.requests.length, 4);
  });

  it("names a wrong key, and a missing one", async (t) => {
    const { endpoint } = server;
    await freshStorage();
    t.after(setKey);
    process.env.AWS_SECRET_ACCESS_KEY = "wrong";
    await assert.rejects(openStorage(`s3:${endpoint}/bucket0`), { code: "storage", hint: /AWS_SECRET_ACCESS_KEY/ });
    process.env.AWS_ACCESS_KEY_ID = "unknown";
    await assert.rejects(openStorage(`s3:${endpoint}/bucket0`), { code: "storage", hint: /AWS_ACCESS_KEY_ID/ });
    delete process.env.AWS_ACCESS_KEY_ID;
    await assert.rejects(openStorage(`s3:${endpoint}/bucket0`), UsageError);
  });

  it("follows the server to the region that it names", async () => {
    const storage = await freshStorage();
    let asked = 0;
    server.mishap = (method) => {
      if (method !== "GET" || asked++ > 0) return undefined;
      const body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>";
      return { answer: { status: 400, body } };
    };
    await storage.put("config", [content]);
    assert.deepEqual(Buffer.from(await storage.get("config")), content);
    assert.equal(asked, 2);
  });

  it("does not take for objects what is not an answer of S3", async () => {
    const storage = await freshStorage();
    await storage.put("packs/a", [content]);
    const page = (inside: string): string => `<ListBucketResult>${inside}</ListBucketResult>`;
    const answers = [
      "<html>Welcome</html>",
      "",
      page("<Contents><Key>deep/er/packs/a</Key><Size>-1</Size></Contents>"),
      page("<Contents><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"),
      page("<IsTruncated>true</IsTruncated>"),
    ];
    for (const body of answers) {
      server.mishap = () => ({ answer: { status: 200, body } });
      await assert.rejects(async () => {
        for await (const { name } of storage.list("")) assert.fail(name);
      }, StorageError);
    }
    server.mishap = () => ({ answer: { status: 200, body: "whole although a part was asked for" } });
    await assert.rejects(storage.get("packs/a", { offset: 1, length: 3 }), StorageError);
    server.mishap = () => ({ answer: { status: 206, body: "too much" } });
    await assert.rejects(storage.get("packs/a", { offset: 1, length: 3 }), StorageError);
    server.mishap = () => ({ answer: { status: 206, body: "x" } });
    await assert.rejects(storage.get("packs/a", { offset: 1, length: 3 }), DamagedError);
  });

  it("tells a missing object from a missing bucket", async () => {
    const storage = await freshStorage();
    await assert.rejects(storage.get("packs/a"), ObjectMissingError);
    const body = "<Error><Code>NoSuchBucket</Code></Error>";
    server.mishap = (method) => (method === "HEAD" ? undefined : { answer: { status: 404, body } });
    await assert.rejects(storage.get("packs/a"), { name: "StorageError", message: /NoSuchBucket/ });
    await assert.rejects(storage.put("packs/a", [content]), { name: "StorageError", message: /NoSuchBucket/ });
    await assert.rejects(storage.delete("packs/a"), { name: "StorageError", message: /NoSuchBucket/ });
  });

  it("tells at once when nobody is there", async () => {
    const place = parseStorageUrl("s3:http://127.0.0.1:1/bucket");
    assert.ok(place.kind === "s3");
    await assert.rejects(openS3Storage(place), { name: "StorageError", message: /ECONNREFUSED/, hint: /address/ });
  });
});

function setKey(): void {
  process.env.AWS_ACCESS_KEY_ID = S3_TEST_KEY.accessKeyId;
  process.env.AWS_SECRET_ACCESS_KEY = S3_TEST_KEY.secretAccessKey;
}

/** Puts of one name wait for each other, as nothing else keeps them apart where the server knows no conditions. */
function oneAtATime(storage: Storage): Storage {
  let last: Promise<unknown> = Promise.resolve();
  return {
    ...storage,
    put: (name, pieces) => {
      const put = last.then(() => storage.put(name, pieces));
      last = put.catch(() => undefined);
      return put;
    },
  };
}
