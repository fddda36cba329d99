import assert from "node:assert/strict";
import { test } from "node:test";
import { DamagedError } from "../../src/errors.ts";
import { FUZZ_TARGETS } from "./fuzz-targets.ts";
import { fuzz } from "./fuzz.ts";

const INPUTS_EACH = 3000;

for (const target of FUZZ_TARGETS) {
  test(`${INPUTS_EACH} hostile inputs to the decoder of a ${target.name} cost little and end in a named error`, async () => {
    await fuzz(target, 1, (iterations) => iterations >= INPUTS_EACH);
  });
}

const BAD_DECODERS: readonly { name: string; decode: (bytes: Uint8Array) => unknown; message: RegExp }[] = [
  {
    name: "reads beyond the end",
    decode: (bytes) => Buffer.from(bytes).readUInt32LE(4),
    message: /RangeError/,
  },
  {
    name: "allocates what a length claims",
    decode: (bytes) => {
      if (bytes.length < 8) throw new DamagedError("too short");
      return Buffer.alloc(Buffer.from(bytes).readUInt32LE(0) % 2 ** 30);
    },
    message: /bytes of memory/,
  },
];

for (const { name, decode, message } of BAD_DECODERS) {
  test(`a decoder that ${name} is found`, async () => {
    const target = { name, seeds: [Buffer.alloc(16, 0)], decode };
    await assert.rejects(
      fuzz(target, 1, (iterations) => iterations >= INPUTS_EACH),
      message,
    );
  });
}
