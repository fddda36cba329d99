import assert from "node:assert/strict";
import { test } from "node:test";
import { DamagedError, NewerFormatError } from "../errors.ts";
import { decodeCondemned, encodeCondemned } from "./condemned.ts";
import { decodeConfig, encodeConfig } from "./config.ts";
import { PREFIXES, objectName, parseObjectName } from "./names.ts";
import { decodeRunning, encodeRunning } from "./running.ts";
import { alteredBytes, decodesOrNames } from "./testing/hostile.ts";

const CONFIG = {
  id: Buffer.from("000102030405060708090a0b0c0d0e0f", "hex"),
  created: "2026-11-20T10:11:12.131Z",
  publicKey: Buffer.alloc(32, 1),
};
const CONDEMNED = { packs: ["ab".repeat(32), "01".repeat(32)], time: "2026-11-20T10:11:12.131Z" };
const RUNNING = { host: "tower", process: 4711, started: "2026-11-20T10:11:12.131Z", what: "backup" };

// A change here is a change of format: see docs/format.md.
const GOLDEN_CONFIG = `{
  "format": 1,
  "id": "000102030405060708090a0b0c0d0e0f",
  "created": "2026-11-20T10:11:12.131Z",
  "publicKey": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
}
`;

test("config, condemned and running have the bytes that the format says, and come back", () => {
  assert.equal(encodeConfig(CONFIG).toString(), GOLDEN_CONFIG);
  assert.deepEqual(decodeConfig(encodeConfig(CONFIG)), CONFIG);
  const [a, b] = CONDEMNED.packs;
  assert.equal(encodeCondemned(CONDEMNED).toString(), `{"packs":["${a}","${b}"],"time":"2026-11-20T10:11:12.131Z"}`);
  assert.deepEqual(decodeCondemned(encodeCondemned(CONDEMNED)), CONDEMNED);
  const waiting = { ...CONDEMNED, runs: ["0123456789abcdef"] };
  assert.match(encodeCondemned(waiting).toString(), /"time":"[^"]*","runs":\["0123456789abcdef"\]\}$/);
  assert.deepEqual(decodeCondemned(encodeCondemned(waiting)), waiting);
  assert.throws(() => decodeCondemned(encodeCondemned({ ...CONDEMNED, runs: ["x"] })), DamagedError);
  assert.equal(
    encodeRunning(RUNNING).toString(),
    '{"host":"tower","process":4711,"started":"2026-11-20T10:11:12.131Z","what":"backup"}\n',
  );
  assert.deepEqual(decodeRunning(encodeRunning(RUNNING)), RUNNING);
});

test("a repository of a newer format is told apart from damage", () => {
  const newer = Buffer.from(GOLDEN_CONFIG.replace('"format": 1', '"format": 2').replace("publicKey", "unheardOf"));
  assert.throws(
    () => decodeConfig(newer),
    (error) => error instanceof NewerFormatError && /format 2/.test(error.message) && /update/.test(error.hint ?? ""),
  );
  const never = Buffer.from(GOLDEN_CONFIG.replace('"format": 1', '"format": 0'));
  assert.throws(() => decodeConfig(never), DamagedError);
});

const DECODERS = [
  ["config", decodeConfig, encodeConfig(CONFIG)],
  ["condemned", decodeCondemned, encodeCondemned(CONDEMNED)],
  ["running", decodeRunning, encodeRunning(RUNNING)],
] as const;

for (const [name, decode, valid] of DECODERS) {
  test(`altered and cut bytes of ${name} give data or a named error`, () => {
    for (const { altered } of alteredBytes(valid)) decodesOrNames((bytes) => decode(bytes), altered);
    // The newline at the end may go.
    for (let length = 0; length < valid.length - 1; length++) {
      assert.equal(
        decodesOrNames((bytes) => decode(bytes), valid.subarray(0, length)),
        false,
      );
    }
  });

  test(`${name} with a field left out or of another kind is refused by name`, () => {
    const fields = JSON.parse(valid.toString()) as Record<string, unknown>;
    for (const field of Object.keys(fields)) {
      for (const value of [undefined, null, {}, [7], -1, "\u0000"]) {
        if (field === "host" && typeof value === "string") continue;
        if (field === "what" && typeof value === "string") continue;
        const bytes = Buffer.from(JSON.stringify({ ...fields, [field]: value }));
        assert.throws(
          () => decode(bytes, "object 12"),
          (error) => error instanceof DamagedError && error.message.startsWith('object 12 is damaged: "' + field),
          `${field}: ${JSON.stringify(value)}`,
        );
      }
    }
  });

  test(`${name} that is no JSON object is refused`, () => {
    for (const text of ["", "null", "[]", "7", '"x"', "{", "\xff"]) {
      assert.throws(() => decode(Buffer.from(text, "latin1")), DamagedError);
    }
    if (name !== "condemned") assert.throws(() => decode(Buffer.alloc(70_000, 0x20)), /more than/);
  });
}

const LONG = "ab".repeat(32);
const SHORT = "ab".repeat(16);

test("names of objects are told from all others, and lead back to their ids", () => {
  const names: [string, keyof typeof PREFIXES, string][] = [
    [`keys/${SHORT}`, "key", SHORT],
    [`packs/ab/${LONG}`, "pack", LONG],
    [`index/${LONG}`, "index", LONG],
    [`snapshots/${LONG}`, "snapshot", LONG],
    [`condemned/${LONG}`, "condemned", LONG],
    [`running/${SHORT}`, "running", SHORT],
  ];
  for (const [name, kind, id] of names) {
    assert.deepEqual(parseObjectName(name), { kind, id });
    assert.equal(objectName(kind, id), name);
    assert.ok(name.startsWith(PREFIXES[kind]));
  }
  assert.deepEqual(parseObjectName("config"), { kind: "config", id: "" });
});

test("left-over temporary files and foreign names are ignored", () => {
  for (const name of [
    "",
    "config.tmp",
    "Config",
    "keys",
    "keys/",
    `keys/${LONG}`,
    `keys/${SHORT}.tmp`,
    `keys/${SHORT.toUpperCase()}`,
    `index/${SHORT}`,
    `index/.${LONG}`,
    `snapshots/${LONG}/x`,
    `snapshots/${LONG.slice(1)}g`,
    `condemned/${SHORT}`,
    `running/${LONG}`,
    `packs/${LONG}`,
    `packs/cd/${LONG}`,
    `other/${LONG}`,
    `x/index/${LONG}`,
    `index/${LONG}\n`,
  ]) {
    assert.equal(parseObjectName(name), undefined, name);
  }
});
