import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StorageError } from "../errors.ts";
import { atCall, discFull, faultyStorage, inputOutputError } from "./faulty.ts";
import { memoryStorage } from "./memory.ts";
import { storageConformance } from "./storage.conformance.ts";

storageConformance("faulty storage without faults", async () => {
  const storage = faultyStorage(memoryStorage(), () => undefined);
  return { storage, dispose: () => storage.close() };
});

describe("faulty storage", () => {
  const content = [Buffer.from("content")];

  it("fails the one call it was told to, before anything is done", async () => {
    const storage = faultyStorage(memoryStorage(), atCall(1, { failBefore: discFull() }));
    await storage.put("a", content);
    await assert.rejects(storage.put("b", content), { name: "StorageError", message: /ENOSPC/ });
    assert.equal(await storage.stat("b"), undefined);
    assert.equal(await storage.put("b", content), true);
  });

  it("counts by method where it is told to", async () => {
    const storage = faultyStorage(memoryStorage(), atCall(0, { failBefore: inputOutputError() }, "get"));
    await storage.put("a", content);
    await assert.rejects(storage.get("a"), { message: /EIO/ });
    assert.equal(Buffer.from(await storage.get("a")).toString(), "content");
  });

  it("loses an acknowledgement", async () => {
    const storage = faultyStorage(memoryStorage(), atCall(0, { failAfter: inputOutputError() }));
    await assert.rejects(storage.put("a", content), StorageError);
    assert.equal(await storage.put("a", content), false);
  });

  it("fails a list after it gave what there is", async () => {
    const storage = faultyStorage(memoryStorage(), atCall(0, { failAfter: inputOutputError() }, "list"));
    await storage.put("a", content);
    const names: string[] = [];
    await assert.rejects(async () => {
      for await (const { name } of storage.list("")) names.push(name);
    }, StorageError);
    assert.deepEqual(names, ["a"]);
  });

  it("truncates and damages what is read, but not what is stored", async () => {
    const inner = memoryStorage();
    const storage = faultyStorage(inner, ({ indexOfMethod, method }) =>
      method === "get" ? [{ truncateToBytes: 3 }, { flipByteAt: 8 }][indexOfMethod] : undefined,
    );
    await storage.put("a", content);
    assert.equal(Buffer.from(await storage.get("a")).toString(), "con");
    assert.equal(Buffer.from(await storage.get("a")).toString("latin1"), "c\x90ntent");
    assert.equal(Buffer.from(await storage.get("a")).toString(), "content");
  });

  it("takes its time where it is told to", async () => {
    const storage = faultyStorage(memoryStorage(), atCall(0, { delayMs: 50 }));
    const startMs = performance.now();
    await storage.put("a", content);
    assert.ok(performance.now() - startMs >= 45);
  });

  it("remembers every call", async () => {
    const storage = faultyStorage(memoryStorage(), () => undefined);
    await storage.put("a", content);
    await storage.stat("a");
    await storage.put("b", content);
    assert.deepEqual(storage.calls, [
      { method: "put", name: "a", index: 0, indexOfMethod: 0 },
      { method: "stat", name: "a", index: 1, indexOfMethod: 0 },
      { method: "put", name: "b", index: 2, indexOfMethod: 1 },
    ]);
  });
});
