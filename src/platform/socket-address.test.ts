import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { socketAddress } from "./socket-address.ts";

for (const [what, depth] of [
  ["at hand", 0],
  ["in a folder deeper than the kernel takes for sockets", 10],
] as const) {
  test(`a socket ${what} can be listened at, connected to, and goes when it is closed`, async (t) => {
    const folder = path.join(temporaryFolder(t), ...Array.from({ length: depth }, () => "a-rather-long-name"));
    mkdirSync(folder, { recursive: true });
    const file = path.join(folder, "s.sock");
    const listening = socketAddress(file);
    const server = createServer((socket) => socket.end("hello"));
    server.listen(listening.path);
    await once(server, "listening");
    assert.ok(existsSync(file));
    const calling = socketAddress(file);
    const socket = connect(calling.path);
    const [said] = (await once(socket, "data")) as [Buffer];
    assert.equal(said.toString(), "hello");
    socket.destroy();
    calling.release();
    await new Promise((resolve) => server.close(resolve));
    listening.release();
    listening.release();
    assert.ok(!existsSync(file));
  });
}
