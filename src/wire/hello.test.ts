import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type HoldfastError, ProtocolError } from "../errors.ts";
import {
  commonVersion,
  decodeAgentHello,
  decodeServerHello,
  encodeHello,
  MAXIMUM_POLICY_BYTES,
  policyBytes,
  VERSION,
  type HostPolicy,
  type ServerHello,
} from "./hello.ts";
import { encodeMessage } from "./message.ts";

const said = { version: VERSION, program: "p", host: "web1", ticket: "t", startedMs: 1, nowMs: 2 };
const policy: HostPolicy = { schedule: "daily", sources: ["/srv"], excludes: ["*.tmp"] };
const fromServer = (fields: object): ServerHello => decodeServerHello(Buffer.from(JSON.stringify(fields)));

test("a server's hello comes out as it went in, with a policy and without", () => {
  for (const hello of [
    said,
    { ...said, policy },
    { ...said, policy: { ...policy, uploadBytesPerSecond: 4096, downloadBytesPerSecond: 8192 } },
    { ...said, nextRunMs: 77, wanted: true, policy: { ...policy, sources: [], excludes: [] } },
  ]) {
    assert.deepEqual(decodeServerHello(encodeHello(hello)), hello);
  }
});

test("what a later minor version says besides is no trouble, and is not taken for a setting", () => {
  const later = { ...said, version: { major: 1, minor: 7 }, mood: "good", policy: { ...policy, command: "rm -rf /" } };
  assert.deepEqual(fromServer(later).policy, policy);
});

const refusedPolicies: readonly [string, unknown][] = [
  ["a list", []],
  ["no schedule", { sources: [], excludes: [] }],
  ["a path that is not a full one", { ...policy, sources: ["etc"] }],
  ["a path with a line break", { ...policy, sources: ["/a\n/b"] }],
  ["a pattern with a NUL byte", { ...policy, excludes: ["a\0b"] }],
  ["an empty pattern", { ...policy, excludes: [""] }],
  ["a pattern that is a number", { ...policy, excludes: [7] }],
  ["too many paths", { ...policy, sources: Array.from({ length: 1001 }, () => "/a") }],
  ["a path that is too long", { ...policy, sources: [`/${"a".repeat(4096)}`] }],
  ["a rate that nothing gets through at", { ...policy, uploadBytesPerSecond: 1 }],
  ["a rate that is text", { ...policy, downloadBytesPerSecond: "fast" }],
];
for (const [what, wrong] of refusedPolicies) {
  test(`refuses a policy with ${what}`, () =>
    assert.throws(() => fromServer({ ...said, policy: wrong }), ProtocolError));
}

test("the largest policy that a server lets be made fits into one message", () => {
  const excludes = Array.from({ length: 900 }, (_, number) => `${number}`.padEnd(100, "x"));
  const large = { ...policy, excludes };
  while (policyBytes({ ...large, excludes: [...excludes, "y".repeat(90)] }) < MAXIMUM_POLICY_BYTES) {
    excludes.push("y".repeat(90));
  }
  assert.ok(policyBytes(large) > MAXIMUM_POLICY_BYTES - 200);
  const json = encodeHello({ ...said, program: "p".repeat(1000), host: "h".repeat(63), policy: large });
  assert.ok(encodeMessage({ kind: "hello", json }).length > 0);
  assert.equal(decodeServerHello(json).policy?.excludes.length, excludes.length);
});

for (const [theirs, side] of [
  [{ major: 0, minor: 9 }, "agent"],
  [{ major: 2, minor: 0 }, "server"],
] as const) {
  test(`an agent of version ${theirs.major} is told to update the ${side}`, () => {
    const hello = encodeHello({ version: theirs, program: "x", purpose: "backup" });
    assert.throws(
      () => decodeAgentHello(hello),
      (error: HoldfastError) => error.hint === `update Holdfast on the ${side}`,
    );
  });
}

test("an agent is told which side to update where the server answers in another version", () => {
  const hintOf = (major: number): string | undefined => {
    try {
      fromServer({ ...said, version: { major, minor: 0 } });
    } catch (error) {
      return (error as HoldfastError).hint;
    }
    return undefined;
  };
  assert.deepEqual([hintOf(2), hintOf(0)], ["update Holdfast on this host", "update Holdfast on the server"]);
});

test("both sides speak the smaller minor", () => {
  assert.deepEqual(commonVersion(VERSION, { major: 1, minor: 0 }), { major: 1, minor: 0 });
  assert.deepEqual(commonVersion(VERSION, { major: 1, minor: 99 }), VERSION);
});

test("any JSON gives a hello or a ProtocolError, and nothing of it that is not bounded", () => {
  const wild = fc.record(
    {
      version: fc.constant(VERSION),
      program: fc.constant("p"),
      host: fc.constant("h"),
      ticket: fc.constant(""),
      startedMs: fc.constant(1),
      nowMs: fc.constant(1),
      policy: fc.oneof(
        fc.jsonValue(),
        fc.record({ schedule: fc.jsonValue(), sources: fc.jsonValue(), excludes: fc.jsonValue() }),
      ),
      nextRunMs: fc.jsonValue(),
      wanted: fc.jsonValue(),
    },
    { requiredKeys: ["version", "program", "host", "ticket", "startedMs", "nowMs"], noNullPrototype: true },
  );
  fc.assert(
    fc.property(wild, (fields) => {
      let hello: ServerHello;
      try {
        hello = fromServer(fields);
      } catch (error) {
        return error instanceof ProtocolError;
      }
      return (hello.policy?.sources ?? []).every((path) => path.startsWith("/") && path.length <= 4096);
    }),
    { numRuns: 500 },
  );
});
