import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ProtocolError } from "../errors.ts";
import {
  createMessageDecoder,
  DATA_BYTES,
  encodeMessage,
  MAXIMUM_MESSAGE_BYTES,
  type Message,
  PREFACE,
} from "./message.ts";

/** Without it fast-check also makes records that have no prototype, which nothing decoded is. */
function plainRecord<Fields>(fields: { [Name in keyof Fields]: fc.Arbitrary<Fields[Name]> }): fc.Arbitrary<Fields> {
  return fc.record(fields, { noNullPrototype: true }) as fc.Arbitrary<Fields>;
}

const id = fc.integer({ min: 0, max: 0xffff_ffff });
const bytes = (maxLength: number, minLength = 0) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
const failure = plainRecord({ code: fc.string({ maxLength: 20 }), message: fc.string(), hint: fc.string() });
const message: fc.Arbitrary<Message> = fc.oneof(
  plainRecord({ kind: fc.constant("hello" as const), json: bytes(300) }),
  plainRecord({
    kind: fc.constant("request" as const),
    id,
    method: fc.integer({ min: 0, max: 255 }),
    hasContent: fc.boolean(),
    body: bytes(300),
  }),
  plainRecord({ kind: fc.constant("answer" as const), id, body: bytes(300) }),
  plainRecord({ kind: fc.constant("data" as const), id, bytes: bytes(3000, 1) }),
  plainRecord({ kind: fc.constant("end" as const), id }),
  plainRecord({ kind: fc.constant("failure" as const), id, failure }),
  plainRecord({ kind: fc.constant("credit" as const), id, bytes: id }),
  plainRecord({ kind: fc.constant("cancel" as const), id }),
  plainRecord({ kind: fc.constant("ping" as const) }),
  plainRecord({ kind: fc.constant("pong" as const) }),
  plainRecord({ kind: fc.constant("goodbye" as const), failure }),
);

test("messages come out as they went in, however the bytes are cut on their way", () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 900 })), (messages, cuts) => {
      const stream = Buffer.concat([PREFACE, ...messages.flatMap(encodeMessage)]);
      const decoder = createMessageDecoder();
      const decoded: Message[] = [];
      let at = 0;
      for (const length of [...cuts, stream.length]) {
        decoded.push(...decoder.feed(stream.subarray(at, at + length)));
        at += length;
      }
      assert.deepEqual(decoded, messages);
      assert.equal(decoder.atBoundary(), true);
    }),
    { numRuns: 300 },
  );
});

test("a stream that stops within a message is not at a boundary", () => {
  const stream = Buffer.concat([PREFACE, ...encodeMessage({ kind: "data", id: 1, bytes: Buffer.alloc(10) })]);
  for (let length = 0; length < stream.length; length++) {
    const decoder = createMessageDecoder();
    decoder.feed(stream.subarray(0, length));
    assert.equal(decoder.atBoundary(), length === PREFACE.length, `after ${length} bytes`);
  }
});

test("single bytes of a long message take no more memory than the message", () => {
  const stream = Buffer.concat([
    PREFACE,
    ...encodeMessage({ kind: "data", id: 1, bytes: Buffer.alloc(DATA_BYTES, 3) }),
  ]);
  const decoder = createMessageDecoder();
  const decoded: Message[] = [];
  const before = process.memoryUsage().arrayBuffers;
  for (const byte of stream) decoded.push(...decoder.feed(Buffer.of(byte)));
  assert.equal(decoded.length, 1);
  assert.ok(process.memoryUsage().arrayBuffers - before < 2 * MAXIMUM_MESSAGE_BYTES);
});

const refused: [string, Buffer, RegExp][] = [
  ["a wrong first byte, at once", Buffer.from("S"), /does not begin as Holdfast does, but with "S"/],
  ["line endings that a transport changed", Buffer.from("HFWIRE\n\n"), /does not begin as Holdfast does/],
  ["a length that is too large, before its message", lengthOf(MAXIMUM_MESSAGE_BYTES + 1), /bytes long/],
  ["a length that is too small", lengthOf(4), /bytes long/],
  ["an unknown kind", Buffer.concat([lengthOf(5), Buffer.from([77, 0, 0, 0, 0])]), /kind 77 is unknown/],
  ["data without any", Buffer.concat([lengthOf(5), Buffer.from([4, 0, 0, 0, 0])]), /0 bytes of data/],
  ["an end with a body", Buffer.concat([lengthOf(6), Buffer.from([5, 0, 0, 0, 0, 9])]), /1 bytes too many/],
];

function lengthOf(length: number): Buffer {
  const field = Buffer.alloc(4);
  field.writeUInt32LE(length);
  return Buffer.concat([PREFACE, field]);
}

for (const [what, stream, why] of refused) {
  test(`refuses ${what}`, () => {
    assert.throws(
      () => createMessageDecoder().feed(stream),
      (error: Error) => error instanceof ProtocolError && why.test(error.message),
    );
  });
}

test("refuses to send a message that nobody would take", () => {
  assert.throws(() => encodeMessage({ kind: "answer", id: 1, body: Buffer.alloc(MAXIMUM_MESSAGE_BYTES) }), RangeError);
});
