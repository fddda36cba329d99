import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { encodeHostHeader, type HostListenerOptions, listenForHosts } from "../../src/server/host-listener.ts";
import { frameSetOf } from "../../src/server/check-objects.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import { type ByteChannel, type Connection, openConnection } from "../../src/wire/connection.ts";
import { encodeHello, VERSION } from "../../src/wire/hello.ts";
import { encodeMessage, INITIAL_CREDIT_BYTES, type Message, PREFACE } from "../../src/wire/message.ts";
import { encodeGetRequest, encodeNameRequest, encodePutRequest, METHODS } from "../../src/wire/storage-calls.ts";
import { type Cleanup, atEnd } from "../support/at-end.ts";
import { usedMemoryBytes } from "../support/heap.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { forgePack } from "./hostile-agent.ts";
import { createTestFleet, runBackup } from "./test-fleet.ts";

const MEBIBYTE = 1024 * 1024;
const ID = "ab".repeat(32);
const PACK = `packs/ab/${ID}`;

async function startListener(t: Cleanup, more: Partial<HostListenerOptions> = {}) {
  const fleet = await createTestFleet(t, { storage: memoryStorage() });
  fleet.addHost("web1");
  const socketPath = path.join(temporaryFolder(t), "run", "hosts.sock");
  const listener = await listenForHosts({ ...fleet.options, socketPath, ...more });
  atEnd(t, () => listener.close());
  return { fleet, listener, socketPath };
}

async function dial(socketPath: string): Promise<Socket> {
  const socket = connect(socketPath);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

function channelOf(socket: Socket): ByteChannel {
  return { input: socket, output: socket, destroy: () => socket.destroy() };
}

/** A connection on which hello was said, and what came in answer. */
async function greet(socketPath: string): Promise<{ connection: Connection; messages: AsyncGenerator<Message> }> {
  const socket = await dial(socketPath);
  socket.write(encodeHostHeader({ host: "web1", from: "test" }));
  const connection = openConnection(channelOf(socket));
  const messages = connection.messages();
  const hello = { version: VERSION, program: "hostile", purpose: "backup" as const };
  connection.send({ kind: "hello", json: encodeHello(hello) });
  const first = await messages.next();
  assert.equal(first.value?.kind, "hello");
  return { connection, messages };
}

/** Why the server ends the connection. */
async function ending(messages: AsyncGenerator<Message>): Promise<string> {
  try {
    for await (const message of messages) {
      if (message.kind === "failure") return message.failure.message;
    }
    return "it ended well";
  } catch (error) {
    return (error as Error).message;
  }
}

const put = (sizeBytes: number): Message => ({
  kind: "request",
  id: 1,
  method: METHODS.put,
  hasContent: true,
  body: encodePutRequest({ name: PACK, sizeBytes, offset: 0 }),
});

const pieces = Buffer.alloc(64 * 1024);

const breaches: [string, (connection: Connection) => void, RegExp][] = [
  ["more content than was granted", flood, /more content than was granted|more content came than was announced/],
  ["a pack that would not end", (c) => c.send(put(2 ** 50)), /more than the 67108864 allowed/],
  ["an unknown request", (c) => c.send(request(1, 99, Buffer.alloc(0))), /unknown/],
  ["a request that is cut", (c) => c.send(request(1, METHODS.get, Buffer.from([200]))), /malformed/],
  ["a request number twice", (c) => [5, 5].forEach((id) => c.send(request(id, 1, Buffer.from([0, 0])))), /used twice/],
  ["content before its request", (c) => c.send({ kind: "data", id: 7, bytes: pieces }), /before its request/],
  ["an end before its request", (c) => c.send({ kind: "end", id: 7 }), /before its request/],
  [
    "a request number below the last",
    (c) => [5, 4].forEach((id) => c.send(request(id, 99, EMPTY))),
    /unknown|used twice/,
  ],
  ["request number 0", (c) => c.send(request(0, 1, EMPTY)), /used twice/],
  ["content that was not announced", (c) => unannounced(c), /more content than was granted|malformed|over/],
  ["content behind its end", (c) => behindItsEnd(c), /(more|less) content|content for a request that is over/],
  ["a failure", (c) => c.send({ kind: "failure", id: 1, failure: NOTHING }), /agent that sends failure/],
  ["more requests at once than are allowed", manyPuts, /more than 64 requests at once/],
  ["a list of 2^40 hashes", (c) => c.send(request(1, METHODS.list, Buffer.from("00808080808020", "hex"))), /malformed/],
  ["a name of 4 GiB", (c) => c.send(request(1, METHODS.stat, Buffer.from("ffffffff0f", "hex"))), /malformed/],
  [
    "a name that is no UTF-8",
    (c) => c.send(request(1, METHODS.stat, Buffer.from("02fffe", "hex"))),
    /malformed|not an object name/,
  ],
  [
    "a name that leads elsewhere",
    (c) => c.send(request(1, METHODS.stat, named("packs/../../etc/passwd"))),
    /not an object name/,
  ],
  ["a range beyond all numbers", (c) => c.send(request(1, METHODS.get, farRange())), /config is too short/],
  ["an offset into what it never sent", (c) => c.send(putFrom(9)), /are not here|is held/],
  ["an offset behind the end", (c) => c.send(putFrom(11)), /malformed|behind/],
  ["a second hello", (c) => c.send({ kind: "hello", json: Buffer.from("{}") }), /middle of a connection/],
  [
    "an answer",
    (c) => [request(1, 1, Buffer.from([0, 0])), { kind: "answer", id: 1, body: pieces } as const].forEach(c.send),
    /agent that sends answer|malformed/,
  ],
];

const EMPTY = Buffer.alloc(0);
const NOTHING = { code: "", message: "", hint: "" };

const named = (name: string): Buffer => encodeNameRequest(name);

function farRange(): Buffer {
  // The name, "a range follows", offset and length of 2^53 - 1 each.
  const largest = Buffer.from("ffffffffffffff0f", "hex");
  return Buffer.concat([named("config"), Buffer.from([1]), largest, largest]);
}

function putFrom(offset: number): Message {
  const body = encodePutRequest({ name: PACK, sizeBytes: 10, offset });
  return { kind: "request", id: 1, method: METHODS.put, hasContent: true, body };
}

function unannounced(connection: Connection): void {
  connection.send(request(1, METHODS.stat, named("config")));
  connection.send({ kind: "data", id: 1, bytes: pieces });
}

function behindItsEnd(connection: Connection): void {
  connection.send(put(pieces.length));
  connection.send({ kind: "end", id: 1 });
  connection.send({ kind: "data", id: 1, bytes: pieces });
}

function manyPuts(connection: Connection): void {
  for (let id = 1; id <= 65; id++) connection.send({ ...put(MEBIBYTE), id } as Message);
}

function request(id: number, method: number, body: Buffer): Message {
  return { kind: "request", id, method, hasContent: false, body };
}

/** Content without end for an object of ten bytes, whether it is granted or not. */
function flood(connection: Connection): void {
  connection.send(put(10));
  for (let sent = 0; sent <= INITIAL_CREDIT_BYTES; sent += pieces.length) {
    connection.send({ kind: "data", id: 1, bytes: pieces });
  }
}

for (const [what, act, why] of breaches) {
  test(`ends the request or the connection of an agent that sends ${what}`, async (t) => {
    const { socketPath, fleet } = await startListener(t);
    const { connection, messages } = await greet(socketPath);
    act(connection);
    assert.match(await ending(messages), why);
    connection.close();
    assert.deepEqual(fleet.faults, []);
  });
}

const openings: [string, Buffer, RegExp][] = [
  ["something else", Buffer.from("GET / HTTP/1.1\r\n\r\n"), /does not begin as Holdfast does/],
  ["a message of 4 GiB", Buffer.concat([PREFACE, Buffer.from("ffffffff", "hex")]), /4294967295 bytes long/],
  ["a message of no bytes", Buffer.concat([PREFACE, Buffer.alloc(4)]), /0 bytes long/],
  ["a request before the hello", Buffer.concat([PREFACE, ...encodeMessage(put(1))]), /does not begin with a hello/],
  ["a hello that is no JSON", Buffer.concat([PREFACE, ...helloOf("{")]), /hello is not JSON/],
  [
    "a hello without a version",
    Buffer.concat([PREFACE, ...helloOf('{"program":"x","purpose":"read"}')]),
    /names no version/,
  ],
  [
    "a later version",
    Buffer.concat([PREFACE, ...helloOf('{"version":{"major":9,"minor":0},"program":"x","purpose":"read"}')]),
    /the agent speaks version 9 of the protocol, the server 1/,
  ],
];

function helloOf(json: string): Uint8Array[] {
  return encodeMessage({ kind: "hello", json: Buffer.from(json) });
}

for (const [what, bytes, why] of openings) {
  test(`turns away whoever begins with ${what}, and says why`, async (t) => {
    const { socketPath } = await startListener(t);
    const socket = await dial(socketPath);
    socket.write(encodeHostHeader({ host: "web1", from: "test" }));
    socket.write(bytes);
    // Without a preface of our own, which `openConnection` would send.
    const { input } = channelOf(socket);
    let said = Buffer.alloc(0);
    for await (const chunk of input) said = Buffer.concat([said, chunk as Buffer]);
    assert.match(said.toString("utf8"), why);
  });
}

test("gives up whoever says nothing, too slowly, or not who it is", async (t) => {
  const { socketPath, listener } = await startListener(t, { headerMs: 200, helloMs: 200 });
  for (const opening of [
    "",
    "{",
    '{"host":1,"from":""}\n',
    "x".repeat(5000),
    encodeHostHeader({ host: "web1", from: "" }),
  ]) {
    const socket = await dial(socketPath);
    if (opening !== "") socket.write(opening);
    socket.resume();
    await Promise.race([once(socket, "close"), wait(2000).then(() => assert.fail(`still open after ${opening}`))]);
  }
  assert.equal(listener.connections, 0);
});

test("gives up an upload that stands still, and keeps what came of it for the next try", async (t) => {
  const { socketPath, fleet } = await startListener(t, { stallMs: 200 });
  const { connection, messages } = await greet(socketPath);
  connection.send(put(MEBIBYTE));
  connection.send({ kind: "data", id: 1, bytes: pieces });
  assert.match(await ending(messages), /the content stopped arriving/);
  connection.close();
  assert.equal(await fleet.options.uploads.heldBytes("web1", PACK), pieces.length);
});

test("gives up an agent that is silent, and goes on with one that gives signs of life", async (t) => {
  const { socketPath, listener } = await startListener(t, { silenceMs: 300 });
  const { connection, messages } = await greet(socketPath);
  const reading = ending(messages);
  await wait(900);
  assert.equal(listener.connections, 1, "pings were answered");
  void reading;
  connection.close();

  const socket = await dial(socketPath);
  socket.write(encodeHostHeader({ host: "web1", from: "test" }));
  socket.write(
    Buffer.concat([PREFACE, ...helloOf('{"version":{"major":1,"minor":0},"program":"x","purpose":"read"}')]),
  );
  socket.resume();
  await Promise.race([once(socket, "close"), wait(3000).then(() => assert.fail("still open"))]);
});

test("holds little in memory for an agent that asks for much and takes nothing", async (t) => {
  const { socketPath, fleet, listener } = await startListener(t, { silenceMs: 60_000 });
  const pack = forgePack(
    fleet.owner.ring,
    Array.from({ length: 8 }, () => randomBytes(MEBIBYTE)),
  );
  await fleet.storage.put(pack.name, [pack.bytes]);
  const { id, bytes, frames } = pack;
  await fleet.account.catalogue.addPack("web1", { id, sizeBytes: bytes.length, frames: frameSetOf(frames) });
  const { connection, messages } = await greet(socketPath);
  const before = usedMemoryBytes();
  for (let number = 1; number <= 60; number++) {
    connection.send(request(number, METHODS.get, encodeGetRequest({ name: pack.name, range: undefined })));
  }
  let kind: Message["kind"] | undefined;
  while (kind !== "data") {
    const { value } = await messages.next();
    assert.ok(value !== undefined, "it was answered");
    kind = value.kind;
  }
  for (let look = 0; look < 20; look++) {
    await wait(50);
    const held = usedMemoryBytes() - before;
    assert.ok(held < 24 * MEBIBYTE, `${held} bytes for 480 MiB that were asked for`);
  }
  assert.equal(listener.connections, 1);
  connection.close();
});

test("holds little in memory of uploads that do not come to their end", async (t) => {
  const { socketPath } = await startListener(t);
  const { connection } = await greet(socketPath);
  const before = usedMemoryBytes();
  for (let number = 1; number < 60; number++) {
    const name = `packs/ab/ab${String(number).padStart(62, "0")}`;
    const body = encodePutRequest({ name, sizeBytes: 32 * MEBIBYTE, offset: 0 });
    connection.send({ kind: "request", id: number, method: METHODS.put, hasContent: true, body });
    for (let sent = 0; sent < INITIAL_CREDIT_BYTES; sent += pieces.length) {
      connection.send({ kind: "data", id: number, bytes: pieces });
      await connection.room(pieces.length);
    }
  }
  const held = usedMemoryBytes() - before;
  assert.ok(held < 24 * MEBIBYTE, `${held} bytes of ${59 * INITIAL_CREDIT_BYTES} that came`);
  connection.close();
});

/** Machines that run tests are slow at times. */
async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await isSo()) return;
    await wait(25);
  }
  assert.fail(`it did not come about that ${what}`);
}

test("keeps but a few broken uploads of a host", async (t) => {
  const { socketPath, fleet, listener } = await startListener(t);
  const { uploads } = fleet.options;
  const names = Array.from({ length: 7 }, (_, round) => `packs/ab/ab${String(round).padStart(62, "0")}`);
  for (const name of names) {
    const { connection, messages } = await greet(socketPath);
    const body = encodePutRequest({ name, sizeBytes: MEBIBYTE, offset: 0 });
    connection.send({ kind: "request", id: 1, method: METHODS.put, hasContent: true, body });
    connection.send({ kind: "data", id: 1, bytes: pieces });
    const taken = await messages.next();
    assert.equal(taken.value?.kind, "credit");
    connection.close();
    await ending(messages);
    await until(() => listener.connections === 0, "the server has noticed");
    assert.equal(await uploads.heldBytes("web1", name), pieces.length);
  }
  const held = await Promise.all(names.map((name) => uploads.heldBytes("web1", name)));
  assert.deepEqual(held, [0, 0, 0, ...Array.from({ length: 4 }, () => pieces.length)]);
});

test("bears 10,000 connections at once, and serves who comes when they are gone", async (t) => {
  const { socketPath, listener } = await startListener(t, { maximumConnections: 64, headerMs: 60_000 });
  const before = usedMemoryBytes();
  const sockets: Socket[] = [];
  let closed = 0;
  for (let batch = 0; batch < 100; batch++) {
    const opened = Array.from({ length: 100 }, () => {
      const socket = connect(socketPath);
      socket.on("error", () => undefined);
      socket.once("close", () => closed++);
      socket.resume();
      return socket;
    });
    sockets.push(...opened);
    await wait(2);
  }
  await until(() => closed >= 10_000 - 128, "all but those that are waited for were closed");
  assert.equal(listener.connections, 0);
  for (const socket of sockets) socket.destroy();
  sockets.length = 0;
  await until(() => closed === 10_000, "all are closed");
  await until(() => usedMemoryBytes() - before < 16 * MEBIBYTE, "their memory is free again");
  await until(async () => {
    const greeted = await greet(socketPath).catch(() => undefined);
    greeted?.connection.close();
    return greeted !== undefined;
  }, "one more is served");
});

test("has one server at a socket, and takes the place of one that was killed", async (t) => {
  const { socketPath, fleet } = await startListener(t);
  await assert.rejects(listenForHosts({ ...fleet.options, socketPath }), /listening at .* already/);
  assert.deepEqual(readdirSync(path.dirname(socketPath)), ["hosts.sock"]);
  const { execFileSync } = await import("node:child_process");
  const stale = path.join(temporaryFolder(t), "stale.sock");
  const script = `require("net").createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, "SIGKILL"))`;
  assert.throws(() => execFileSync(process.execPath, ["-e", script]));
  const second = await listenForHosts({ ...fleet.options, socketPath: stale });
  await second.close();
});

test("a host that sends a byte at a time keeps nobody else waiting", async (t) => {
  const { socketPath, fleet } = await startListener(t);
  const slow = await greet(socketPath);
  slow.connection.send(put(MEBIBYTE));
  let sent = 0;
  const timer = setInterval(() => {
    slow.connection.send({ kind: "data", id: 1, bytes: Buffer.from([sent++]) });
  }, 5);
  t.after(() => clearInterval(timer));
  await until(() => sent > 20, "it has begun");
  const folder = temporaryFolder(t);
  writeFileSync(path.join(folder, "file"), randomBytes(MEBIBYTE));
  const host = { ...fleet.addHost("db1"), cacheFolder: temporaryFolder(t) };
  const { result } = await runBackup(fleet, host, folder);
  assert.ok(result.storedBytes > MEBIBYTE);
  assert.ok(!slow.connection.over);
  clearInterval(timer);
  slow.connection.close();
});
