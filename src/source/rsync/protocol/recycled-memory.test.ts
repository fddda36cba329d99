import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { RecycledMemory } from "./recycled-memory.ts";

it("never gives memory that is in use to another piece, whatever the order in which they are let go of", () => {
  const steps = fc.array(fc.oneof(fc.nat(40_000), fc.record({ release: fc.nat(30) })), { maxLength: 200, size: "max" });
  fc.assert(
    fc.property(steps, (todo) => {
      const memory = new RecycledMemory();
      const inUse: { readonly piece: Buffer; readonly mark: number }[] = [];
      todo.forEach((step, number) => {
        if (typeof step === "number") {
          inUse.push({ piece: memory.allocate(step).fill(number & 0xff), mark: number & 0xff });
        } else if (inUse.length > 0) {
          const [{ piece }] = inUse.splice(step.release % inUse.length, 1);
          memory.release(piece);
        }
      });
      for (const { piece, mark } of inUse) assert.ok(piece.every((byte) => byte === mark));
    }),
    { numRuns: 60 },
  );
});

it("uses few blocks for pieces that are let go of in the order in which they came", () => {
  const memory = new RecycledMemory();
  const blocks = new Set<ArrayBufferLike>();
  const waiting: Buffer[] = [];
  for (let count = 0; count < 20_000; count++) {
    const piece = memory.allocate(3000);
    blocks.add(piece.buffer);
    waiting.push(piece);
    if (waiting.length > 500) memory.release(waiting.shift() as Buffer);
  }
  assert.ok(blocks.size < 12, `${blocks.size} blocks`);
});
