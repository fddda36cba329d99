import assert from "node:assert/strict";
import { Readable, Writable } from "node:stream";
import { test } from "node:test";
import { ConnectionError, DamagedError, HoldfastError, ObjectMissingError, RefusedError } from "../errors.ts";
import { openConnection } from "./connection.ts";
import { decodeFailure, encodeFailure, errorOf, failureOf } from "./failure.ts";
import { commonVersion } from "./hello.ts";
import { encodeMessage, type Message, PREFACE } from "./message.ts";
import { answerRequests, createRequester, type IncomingRequest } from "./requests.ts";
import { channelPair } from "./testing/channel-pair.ts";
import { createTokenBucket } from "./token-bucket.ts";
import { wireReader } from "./bytes.ts";

function pair(handle: (request: IncomingRequest) => Promise<void>, options: Parameters<typeof answerRequests>[3] = {}) {
  const channels = channelPair();
  const agent = openConnection(channels.agent);
  const server = openConnection(channels.server);
  const requester = createRequester(agent);
  void requester.run(agent.messages());
  const served = answerRequests(server, server.messages(), handle, options).catch((error: unknown) => error);
  return { requester, agent, server, served, cut: channels.cut };
}

const body = Buffer.alloc(0);

test("answers many requests at once, each with its own stream, in any order", async () => {
  const { requester, agent } = pair(async (request) => {
    const size = request.body.readUInt32LE(0);
    await new Promise((resolve) => setTimeout(resolve, size % 7));
    request.answer(request.body);
    for (let sent = 0; sent < size; sent += 100_000)
      await request.send(Buffer.alloc(Math.min(100_000, size - sent), size));
  });
  await Promise.all(
    Array.from({ length: 150 }, async (_, number) => {
      const size = number * 3001;
      const wanted = Buffer.alloc(4);
      wanted.writeUInt32LE(size);
      let got = 0;
      const answer = await requester.call({
        method: 1,
        body: wanted,
        onData: (bytes) => {
          assert.ok(bytes.every((byte) => byte === size % 256));
          got += bytes.length;
        },
      });
      assert.deepEqual(answer, wanted);
      assert.equal(got, size);
    }),
  );
  agent.close();
});

const floods: [string, (id: number) => Message][] = [
  ["signs of life", () => ({ kind: "ping" })],
  ["requests that fail", (id) => ({ kind: "request", id, method: 99, hasContent: false, body })],
];
for (const [what, messageOf] of floods) {
  test(`reads no further from one who sends ${what} and takes no answer`, async () => {
    let chunks = 0;
    let id = 1;
    async function* endless(): AsyncGenerator<Buffer> {
      yield PREFACE;
      for (; ; chunks++) {
        const messages = Array.from({ length: 50 }, () => encodeMessage(messageOf(id++)));
        yield Buffer.concat(messages.flat());
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    const output = new Writable({ write: () => undefined });
    const input = Readable.from(endless(), { objectMode: false });
    const connection = openConnection({ input, output, destroy: () => [input, output].map((end) => end.destroy()) });
    const served = answerRequests(connection, connection.messages(), () => Promise.reject(new RefusedError("no")));
    for (let turn = 0; turn < 5000; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(chunks < 1000, `${chunks} chunks were taken`);
    connection.close();
    input.destroy();
    await served.catch(() => undefined);
  });
}

test("sends no more of an upload than the server takes", async () => {
  let taken = 0;
  const asked = Promise.withResolvers<void>();
  const mayTake = Promise.withResolvers<void>();
  const { requester, agent } = pair(async (request) => {
    asked.resolve();
    await mayTake.promise;
    for await (const bytes of request.upload()) taken += bytes.length;
    request.answer(body);
  });
  const size = 40 * 1024 * 1024;
  const call = requester.call({ method: 1, body, upload: [Buffer.alloc(size)] });
  await asked.promise;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(agent.traffic.sentBytes < 5 * 1024 * 1024, `${agent.traffic.sentBytes} bytes`);
  mayTake.resolve();
  await call;
  assert.equal(taken, size);
  agent.close();
});

test("an error comes out as the class that went in, with its hint; a fault of ours tells nothing of itself", async () => {
  const faults: unknown[] = [];
  const { requester, agent } = pair(
    async (request) => {
      if (request.method === 1) throw new RefusedError("the quota is used up", { hint: "ask for more" });
      throw new TypeError("secret is not a function");
    },
    { onFault: (error) => faults.push(error) },
  );
  await assert.rejects(requester.call({ method: 1, body }), (error: RefusedError) => {
    assert.ok(error instanceof RefusedError);
    assert.deepEqual([error.message, error.hint], ["the quota is used up", "ask for more"]);
    return true;
  });
  await assert.rejects(requester.call({ method: 2, body }), /the server has made a mistake/);
  assert.equal(faults.length, 1);
  agent.close();
});

test("a call whose connection is cut rejects, and so does every later one", async () => {
  const { requester, cut, served } = pair(() => new Promise(() => undefined).catch(() => undefined) as Promise<void>);
  const call = requester.call({ method: 1, body, upload: [Buffer.alloc(1000)] });
  setTimeout(cut, 20);
  await assert.rejects(call, ConnectionError);
  await assert.rejects(requester.call({ method: 1, body }), ConnectionError);
  void served;
});

test("what the asking side throws over an answer ends that call, and the connection goes on", async () => {
  const { requester, agent } = pair(async (request) => {
    request.answer(body);
    if (request.method === 1) await request.send(Buffer.alloc(1_000_000));
  });
  const onData = (): void => {
    throw new DamagedError("that is not what was asked for");
  };
  await assert.rejects(requester.call({ method: 1, body, onData }), DamagedError);
  await requester.call({ method: 2, body });
  agent.close();
});

test("a goodbye with a reason is what all calls reject with", async () => {
  const { requester, server } = pair(() => new Promise(() => undefined));
  const call = requester.call({ method: 1, body });
  setTimeout(() => server.close(new RefusedError("the host was put on hold")), 20);
  await assert.rejects(call, /the host was put on hold/);
});

test("errors of all classes survive the way; control characters do not", () => {
  for (const error of [new ObjectMissingError("a", { hint: "b" }), new HoldfastError("c"), new ConnectionError("d")]) {
    const back = errorOf(decodeFailure(wireReader(encodeFailure(failureOf(error)))));
    assert.deepEqual([back.constructor, back.message, back.hint], [error.constructor, error.message, error.hint]);
  }
  assert.equal(errorOf({ code: "constructor", message: "\x1b[2Jred\u202e", hint: "" }).message, "?[2Jred?");
  const long = failureOf(new HoldfastError("é".repeat(100_000)));
  assert.ok(encodeFailure(long).length < 10_000);
  decodeFailure(wireReader(encodeFailure(long)));
});

test("sides of different minors speak the older one's", () => {
  assert.deepEqual(commonVersion({ major: 1, minor: 4 }, { major: 1, minor: 2 }), { major: 1, minor: 2 });
});

test("a rate is kept, and what was not used does not pile up", async () => {
  const bucket = createTokenBucket(1_000_000);
  const started = performance.now();
  for (let step = 0; step < 10; step++) await bucket.take(50_000);
  const tookMs = performance.now() - started;
  assert.ok(tookMs > 230 && tookMs < 20_000, `${tookMs} ms for half a second's worth, of which a quarter is free`);
  await createTokenBucket(undefined).take(1e12);
});
