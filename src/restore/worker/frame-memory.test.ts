import assert from "node:assert/strict";
import { test } from "node:test";
import { createFrameMemory } from "./frame-memory.ts";

const MEBIBYTE = 1024 * 1024;

test("memory that was given back is used again, the smallest that is large enough", () => {
  const memory = createFrameMemory();
  const [small, large] = [memory.take(MEBIBYTE), memory.take(4 * MEBIBYTE)];
  assert.notEqual(small, large);
  memory.giveBack(large);
  memory.giveBack(small);
  assert.equal(memory.take(10), small);
  assert.equal(memory.take(10), large);
  assert.equal(memory.take(10).bytes.length, MEBIBYTE);
});

test("memory in use is nobody else's, and has the room that was asked for", () => {
  const memory = createFrameMemory();
  const taken = [0, 1, MEBIBYTE, MEBIBYTE + 1, 16 * MEBIBYTE].map((sizeBytes) => {
    const { bytes } = memory.take(sizeBytes);
    assert.ok(bytes.length >= sizeBytes);
    return bytes.buffer;
  });
  assert.equal(new Set(taken).size, taken.length);
});

test("of much memory that is given back, only some is kept", () => {
  const memory = createFrameMemory();
  const taken = Array.from({ length: 8 }, () => memory.take(4 * MEBIBYTE));
  for (const each of taken) memory.giveBack(each);
  const kept = taken.reduce((sum, { bytes }) => sum + bytes.buffer.byteLength, 0);
  assert.equal(kept, 12 * MEBIBYTE);
});
