/** Agents and servers of different versions of the protocol. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { askServer } from "../../src/agent/ask.ts";
import { openRemoteStorage } from "../../src/agent/remote-storage.ts";
import { type HoldfastError, ProtocolError, RefusedError } from "../../src/errors.ts";
import { openConnection, type ByteChannel, type Connection } from "../../src/wire/connection.ts";
import { decodeServerHello, VERSION, type HostPolicy, type ServerHello } from "../../src/wire/hello.ts";
import type { Message } from "../../src/wire/message.ts";
import { channelPair } from "../../src/wire/testing/channel-pair.ts";
import { createTestFleet, type TestFleet } from "./test-fleet.ts";

const policy: HostPolicy = { schedule: "daily", sources: ["/srv"], excludes: [] };

async function fleetWithPolicy(t: Parameters<typeof createTestFleet>[0]): Promise<TestFleet> {
  const fleet = await createTestFleet(t);
  const { directory } = fleet.options;
  const told = {
    admitHost: async (name: string) => ({ ...(await directory.admitHost(name)), policy }),
    asked: async () => ({ nextRunMs: 1234.5, wanted: true }),
  };
  fleet.addHost("web1");
  Object.assign(fleet.options, { directory: told });
  return fleet;
}

/** What the server answers to a hello of an agent. */
async function answerTo(fleet: TestFleet, hello: object): Promise<ServerHello> {
  const connection = openConnection(fleet.connect("web1"));
  try {
    connection.send({ kind: "hello", json: Buffer.from(JSON.stringify({ program: "old", ...hello })) });
    const first = await connection.messages().next();
    assert.equal((first.value as Message).kind, "hello");
    return decodeServerHello((first.value as Extract<Message, { kind: "hello" }>).json);
  } finally {
    connection.close();
  }
}

test("an agent of 1.0 is answered in 1.0, without the policy that it would not take", async (t) => {
  const fleet = await fleetWithPolicy(t);
  const hello = await answerTo(fleet, { version: { major: 1, minor: 0 }, purpose: "backup" });
  assert.deepEqual([hello.version, hello.policy], [{ major: 1, minor: 0 }, undefined]);
  assert.deepEqual(fleet.faults, []);
});

test("an agent of a later minor is answered in the server's, with the policy", async (t) => {
  const fleet = await fleetWithPolicy(t);
  const hello = await answerTo(fleet, { version: { major: 1, minor: 99 }, purpose: "read", colour: "blue" });
  assert.deepEqual([hello.version, hello.policy], [VERSION, policy]);
});

test("an agent of a later major is told that the server is the older one, and what it asks for beyond is not guessed", async (t) => {
  const fleet = await fleetWithPolicy(t);
  const isHint = (hint: string) => (error: HoldfastError) => error.code === "protocol" && error.hint === hint;
  await assert.rejects(
    answerTo(fleet, { version: { major: 2, minor: 0 }, purpose: "backup" }),
    isHint("update Holdfast on the server"),
  );
  await assert.rejects(
    answerTo(fleet, { version: { major: 1, minor: 9 }, purpose: "dance" }),
    isHint("update Holdfast on the server"),
  );
  await assert.rejects(
    answerTo(fleet, { version: { major: 0, minor: 9 }, purpose: "backup" }),
    isHint("update Holdfast on the agent"),
  );
});

test("who asks hears policy and time, begins no session, and may do nothing else", async (t) => {
  const fleet = await fleetWithPolicy(t);
  const hello = await askServer({ connect: () => fleet.connect("web1") }, "test");
  assert.deepEqual([hello.policy, hello.nextRunMs, hello.wanted, hello.ticket], [policy, 1234, true, ""]);
  for await (const { name } of fleet.storage.list("running/")) assert.fail(`${name} was noted`);

  const connection = openConnection(fleet.connect("web1"));
  const ask = { version: VERSION, program: "p", purpose: "ask" };
  connection.send({ kind: "hello", json: Buffer.from(JSON.stringify(ask)) });
  connection.send({ kind: "request", id: 1, method: 2, hasContent: false, body: Buffer.from("config") });
  const kinds: string[] = [];
  for await (const message of connection.messages()) {
    kinds.push(message.kind === "failure" ? message.failure.code : message.kind);
    if (message.kind === "failure") connection.close();
  }
  assert.deepEqual(kinds, ["hello", "refused"]);
});

/** A server that says what it is told to. */
function fakeServer(act: (connection: Connection) => void): () => ByteChannel {
  return () => {
    const { agent, server } = channelPair();
    const connection = openConnection(server);
    void (async () => {
      for await (const message of connection.messages()) if (message.kind === "hello") act(connection);
    })().catch(() => undefined);
    return agent;
  };
}

const oldHello = { program: "old", host: "web1", ticket: "t", startedMs: 1, nowMs: 1 };

function answers(fields: object): () => ByteChannel {
  return fakeServer((connection) => {
    connection.send({ kind: "hello", json: Buffer.from(JSON.stringify({ ...oldHello, ...fields })) });
  });
}

const storageOf = (connect: () => ByteChannel) =>
  openRemoteStorage({ connect, location: "server", purpose: "backup", program: "test", retryDelaysMs: [1, 1] });

test("an agent goes on with a server of 1.0, which tells no policy", async () => {
  const storage = await storageOf(answers({ version: { major: 1, minor: 0 } }));
  assert.equal(storage.server.policy, undefined);
  await storage.close();
});

test("an agent goes on with a server of a later minor", async () => {
  const storage = await storageOf(answers({ version: { major: 1, minor: 5 }, policy, more: { of: "this" } }));
  assert.deepEqual(storage.server.policy, policy);
  await storage.close();
});

test("an agent tries no server again that speaks another major, and says which side is the older one", async () => {
  let connections = 0;
  const connect = answers({ version: { major: 2, minor: 0 } });
  const counted = (): ByteChannel => {
    connections++;
    return connect();
  };
  await assert.rejects(
    storageOf(counted),
    (error: HoldfastError) => error instanceof ProtocolError && error.hint === "update Holdfast on this host",
  );
  assert.equal(connections, 1);
});

test("an agent that asks a server of 1.0 hears that it knows no such thing", async () => {
  const connect = fakeServer((connection) => connection.close(new ProtocolError("no session has such a purpose")));
  await assert.rejects(askServer({ connect }, "test"), /no session has such a purpose/);
});

test("an agent that asks and is not let in is told so", async () => {
  const connect = fakeServer((connection) => connection.close(new RefusedError('the host "web1" is suspended')));
  await assert.rejects(askServer({ connect }, "test"), RefusedError);
});
