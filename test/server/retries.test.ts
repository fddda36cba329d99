/** What an agent does when its line breaks: how often it tries again, and when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openRemoteStorage, RETRY_DELAYS_MS, retryDelaysMs } from "../../src/agent/remote-storage.ts";
import { ConnectionError } from "../../src/errors.ts";
import type { ByteChannel } from "../../src/wire/connection.ts";
import { createTestFleet } from "./test-fleet.ts";

test("by default an agent connects again after 5 and 30 seconds, and then five times, ten minutes apart", () => {
  assert.deepEqual(RETRY_DELAYS_MS, [5000, 30_000, 600_000, 600_000, 600_000, 600_000, 600_000]);
  assert.deepEqual(retryDelaysMs(0, 1000), []);
  assert.deepEqual(retryDelaysMs(2, 1000), [1000, 1000, 1000, 1000]);
});

test("gives up when all tries have failed, and says what was wrong", async () => {
  const waits: number[] = [];
  let connections = 0;
  const storage = openRemoteStorage({
    connect(): ByteChannel {
      connections++;
      throw new ConnectionError("no route to host");
    },
    location: "server",
    purpose: "backup",
    program: "test",
    retryDelaysMs: [1, 2, 2],
    onRetry: (_, delayMs) => waits.push(delayMs),
  });
  await assert.rejects(storage, /no route to host/);
  assert.deepEqual([connections, waits], [4, [1, 2, 2]]);
});

test("counts tries anew once a connection has served", async (t) => {
  const fleet = await createTestFleet(t);
  fleet.addHost("web1");
  const storage = await openRemoteStorage({
    connect: () => fleet.connect("web1"),
    location: "server",
    purpose: "backup",
    program: "test",
    retryDelaysMs: [1],
  });
  for (let cut = 0; cut < 4; cut++) {
    fleet.cut();
    assert.ok((await storage.get("config")).length > 0);
  }
  await storage.close();
});
