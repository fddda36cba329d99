import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { DamagedError, ObjectMissingError, StorageError } from "../errors.ts";
import type { Storage, StoredObject } from "./storage.ts";

export interface StorageUnderTest {
  readonly storage: Storage;
  /** Releases what the test's storage stands on, and closes the storage. */
  dispose(): Promise<void>;
}

/** What every storage must do: run by the test of each implementation, on a new and empty storage for each case. */
export function storageConformance(what: string, open: () => Promise<StorageUnderTest>): void {
  function test(name: string, body: (storage: Storage) => Promise<void>): void {
    it(name, async () => {
      const { storage, dispose } = await open();
      try {
        await body(storage);
      } finally {
        await dispose();
      }
    });
  }

  describe(`${what} as a storage`, () => {
    test("gives back an object as it was stored, from all its pieces", async (storage) => {
      assert.equal(await storage.put("packs/ab/one", [bytes("first "), bytes(""), bytes("second")]), true);
      assert.equal(text(await storage.get("packs/ab/one")), "first second");
    });

    test("gives back a range of an object, up to its very end", async (storage) => {
      await storage.put("object", [bytes("0123456789")]);
      assert.equal(text(await storage.get("object", { offset: 0, length: 10 })), "0123456789");
      assert.equal(text(await storage.get("object", { offset: 3, length: 4 })), "3456");
      assert.equal(text(await storage.get("object", { offset: 9, length: 1 })), "9");
      assert.equal((await storage.get("object", { offset: 10, length: 0 })).byteLength, 0);
      assert.equal((await storage.get("object", { offset: 4, length: 0 })).byteLength, 0);
    });

    const badRanges = [
      { offset: 0, length: 11 },
      { offset: 9, length: 2 },
      { offset: 10, length: 1 },
      { offset: 11, length: 0 },
      { offset: 5, length: 2 ** 52 },
      { offset: -1, length: 1 },
      { offset: 0, length: -1 },
      { offset: 0.5, length: 1 },
    ];
    for (const range of badRanges) {
      test(`calls 10 bytes damaged when asked for ${range.length} at ${range.offset}`, async (storage) => {
        await storage.put("object", [bytes("0123456789")]);
        await assert.rejects(storage.get("object", range), DamagedError);
      });
    }

    test("keeps an empty object", async (storage) => {
      assert.equal(await storage.put("empty", []), true);
      assert.equal(await storage.put("also-empty", [bytes("")]), true);
      assert.equal((await storage.get("empty")).byteLength, 0);
      assert.equal((await storage.stat("empty"))?.sizeBytes, 0);
      assert.equal((await storage.get("empty", { offset: 0, length: 0 })).byteLength, 0);
      await assert.rejects(storage.get("empty", { offset: 0, length: 1 }), DamagedError);
      assert.deepEqual((await listed(storage, "")).map(nameOf), ["also-empty", "empty"]);
    });

    test("keeps an object of 64 MiB in 203 pieces", async (storage) => {
      const content = randomBytes(64 * 1024 * 1024);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < content.length; at += 331_777) pieces.push(content.subarray(at, at + 331_777));
      assert.equal(await storage.put("packs/00/large", pieces), true);
      assert.equal((await storage.stat("packs/00/large"))?.sizeBytes, content.length);
      assert.equal(sha256(await storage.get("packs/00/large")), sha256(content));
      const range = { offset: 33_333_333, length: 4_444_444 };
      const part = await storage.get("packs/00/large", range);
      assert.ok(Buffer.compare(part, content.subarray(range.offset, range.offset + range.length)) === 0);
    });

    test("is not disturbed when the caller uses its buffer again after a put or a get", async (storage) => {
      const buffer = bytes("content");
      await storage.put("object", [buffer]);
      buffer.fill(0);
      (await storage.get("object")).fill(0);
      assert.equal(text(await storage.get("object")), "content");
    });

    test("never changes an object that is there, and says so", async (storage) => {
      assert.equal(await storage.put("index/a", [bytes("first")]), true);
      assert.equal(await storage.put("index/a", [bytes("second, longer")]), false);
      assert.equal(await storage.put("index/a", [bytes("first")]), false);
      assert.equal(text(await storage.get("index/a")), "first");
      assert.deepEqual((await listed(storage, "")).map(nameOf), ["index/a"]);
    });

    test("lets exactly one of many puts of one name win", async (storage) => {
      const contents = Array.from({ length: 16 }, (_, index) => `content ${index}`.repeat(1000 + index));
      const results = await Promise.all(contents.map((content) => storage.put("snapshots/one", [bytes(content)])));
      assert.equal(results.filter((stored) => stored).length, 1);
      assert.equal(text(await storage.get("snapshots/one")), contents[results.indexOf(true)]);
    });

    test("stores many objects at the same time", async (storage) => {
      const names = Array.from({ length: 200 }, (_, index) => `packs/${(index % 7).toString(16)}0/object${index}`);
      const results = await Promise.all(names.map((name) => storage.put(name, [bytes(name)])));
      assert.ok(results.every((stored) => stored));
      assert.deepEqual((await listed(storage, "packs/")).map(nameOf), [...names].sort());
      const contents = await Promise.all(names.map(async (name) => text(await storage.get(name))));
      assert.deepEqual(contents, names);
    });

    test("shows no part of an object before it is whole", async (storage) => {
      const content = randomBytes(8 * 1024 * 1024);
      let stored = false;
      const put = storage.put("packs/aa/object", [content]).finally(() => (stored = true));
      while (!stored) {
        for (const { sizeBytes } of await listed(storage, "")) assert.equal(sizeBytes, content.length);
        const found = await storage.get("packs/aa/object").catch((error: unknown) => {
          assert.ok(error instanceof ObjectMissingError);
        });
        if (found !== undefined) assert.equal(found.byteLength, content.length);
      }
      await put;
      assert.equal(sha256(await storage.get("packs/aa/object")), sha256(content));
    });

    test("lists by prefix with sizes and times, each object once", async (storage) => {
      const before = Date.now();
      for (const name of ["config", "keys/1", "packs/aa/1", "packs/aa/2", "packs/ab/3", "packs-x/4", "packs/b.c_d-e"]) {
        await storage.put(name, [bytes(name)]);
      }
      const all = await listed(storage, "");
      assert.deepEqual(all.map(nameOf), [
        "config",
        "keys/1",
        "packs-x/4",
        "packs/aa/1",
        "packs/aa/2",
        "packs/ab/3",
        "packs/b.c_d-e",
      ]);
      for (const { name, sizeBytes, modifiedMs } of all) {
        assert.equal(sizeBytes, name.length);
        // Storage's clock may count whole seconds, and be a little off.
        assert.ok(Math.abs(modifiedMs - before) < 120_000, `${name} was stored at ${modifiedMs}`);
      }
      const inPacks = ["packs/aa/1", "packs/aa/2", "packs/ab/3", "packs/b.c_d-e"];
      assert.deepEqual((await listed(storage, "packs/")).map(nameOf), inPacks);
      assert.deepEqual((await listed(storage, "packs/aa/")).map(nameOf), ["packs/aa/1", "packs/aa/2"]);
      assert.deepEqual(await listed(storage, "packs/a/"), []);
      assert.deepEqual(await listed(storage, "snapshots/"), []);
      assert.deepEqual(await listed(storage, "config/"), []);
    });

    test("can be listed in part", async (storage) => {
      for (let index = 0; index < 20; index++) await storage.put(`index/${index}`, [bytes("x")]);
      for await (const { name } of storage.list("index/")) {
        assert.match(name, /^index\/\d+$/);
        break;
      }
      assert.equal((await listed(storage, "index/")).length, 20);
    });

    test("can be changed while it is listed", async (storage) => {
      for (let index = 0; index < 20; index++) await storage.put(`index/${index}`, [bytes("x")]);
      for await (const { name } of storage.list("")) await storage.delete(name);
      assert.deepEqual(await listed(storage, ""), []);
    });

    test("tells what it knows of an object", async (storage) => {
      await storage.put("keys/abc", [bytes("12345")]);
      const found = await storage.stat("keys/abc");
      assert.equal(found?.name, "keys/abc");
      assert.equal(found?.sizeBytes, 5);
      assert.deepEqual(found, (await listed(storage, "keys/"))[0]);
    });

    for (const name of ["none", "keys/none", "packs/aa/none", "keys"]) {
      test(`has no object ${name} when only keys/abc was stored`, async (storage) => {
        await storage.put("keys/abc", [bytes("12345")]);
        assert.equal(await storage.stat(name), undefined);
        await assert.rejects(storage.get(name), ObjectMissingError);
        await assert.rejects(storage.get(name, { offset: 0, length: 1 }), ObjectMissingError);
        await storage.delete(name);
        assert.equal(text(await storage.get("keys/abc")), "12345");
      });
    }

    test("deletes, and deletes again without complaint, and can then store anew", async (storage) => {
      await storage.put("running/1", [bytes("old")]);
      await storage.put("running/2", [bytes("other")]);
      await storage.delete("running/1");
      await storage.delete("running/1");
      assert.equal(await storage.stat("running/1"), undefined);
      await assert.rejects(storage.get("running/1"), ObjectMissingError);
      assert.deepEqual((await listed(storage, "")).map(nameOf), ["running/2"]);
      assert.equal(await storage.put("running/1", [bytes("new")]), true);
      assert.equal(text(await storage.get("running/1")), "new");
    });

    test("deletes many at the same time, some of them twice", async (storage) => {
      const names = Array.from({ length: 60 }, (_, index) => `packs/${index % 5}/${index}`);
      await Promise.all(names.map((name) => storage.put(name, [bytes(name)])));
      await Promise.all([...names, ...names.slice(0, 20)].map((name) => storage.delete(name)));
      assert.deepEqual(await listed(storage, ""), []);
    });

    const badNames = [
      "",
      "/",
      "/etc/passwd",
      "..",
      ".",
      "../outside",
      "packs/../../outside",
      "packs/./x",
      "packs//x",
      "packs/",
      "tmp/x",
      "tmp",
      ".hidden",
      "packs/.hidden",
      "Upper",
      "späce",
      "a b",
      "a\\b",
      "a\0b",
      "a\nb",
      "a:b",
      "a".repeat(201),
    ];
    for (const name of badNames) {
      test(`refuses ${JSON.stringify(name.slice(0, 30))} as a name, in every call`, async (storage) => {
        await assert.rejects(storage.put(name, [bytes("x")]), StorageError);
        await assert.rejects(storage.get(name), StorageError);
        await assert.rejects(storage.get(name, { offset: 0, length: 0 }), StorageError);
        await assert.rejects(storage.stat(name), StorageError);
        await assert.rejects(storage.delete(name), StorageError);
        if (name !== "") await assert.rejects(listed(storage, `${name}/`), StorageError);
        assert.deepEqual(await listed(storage, ""), []);
      });
    }

    test("refuses a prefix that stops within a part of a name", async (storage) => {
      await assert.rejects(listed(storage, "packs"), StorageError);
    });

    test("takes names of every allowed character, up to 200 of them", async (storage) => {
      const names = ["abcdefghijklmnopqrstuvwxyz/0123456789", "-/_/a.b..c.", `${"a".repeat(99)}/${"b".repeat(100)}`];
      for (const name of names) assert.equal(await storage.put(name, [bytes(name)]), true);
      for (const name of names) assert.equal(text(await storage.get(name)), name);
      assert.deepEqual((await listed(storage, "")).map(nameOf), [...names].sort());
    });

    test("names the place without saying more than the user did", async (storage) => {
      assert.ok(storage.location.length > 0);
    });
  });
}

function bytes(content: string): Buffer {
  return Buffer.from(content);
}

function text(content: Uint8Array): string {
  return Buffer.from(content).toString();
}

function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function nameOf(object: StoredObject): string {
  return object.name;
}

async function listed(storage: Storage, prefix: string): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const object of storage.list(prefix)) objects.push(object);
  return objects.sort((a, b) => (a.name < b.name ? -1 : 1));
}
