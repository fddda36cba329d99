import assert from "node:assert/strict";
import { zstdCompressSync } from "node:zlib";
import { describe, it } from "node:test";
import fc from "fast-check";
import { allocateNative, type NativeMemory } from "./libc.ts";
import { decompressByNode, zstdDecompress, zstdDecompressInto } from "./zstd.ts";

const WAYS = { "in the library": zstdDecompress, "by Node": decompressByNode, "into memory": decompressInto };

function decompressInto(compressed: Uint8Array, maximumLength: number): Buffer {
  const [from, into] = [memoryFor(compressed.length + 5), memoryFor(maximumLength + 5)];
  from.bytes.set(compressed, 5);
  into.bytes.fill(0xee);
  const length = zstdDecompressInto(from, 5, 5 + compressed.length, into, maximumLength);
  assert.ok(into.bytes.subarray(maximumLength).every((byte) => byte === 0xee));
  return into.bytes.subarray(0, length);
}

function memoryFor(sizeBytes: number): NativeMemory {
  return allocateNative(Math.ceil(sizeBytes / 8) * 8);
}

for (const [name, decompress] of Object.entries(WAYS)) {
  describe(`zstd decompression ${name}`, () => {
    it("gives back what was compressed", () => {
      const content = fc.oneof(
        fc.uint8Array({ maxLength: 200_000, size: "max" }),
        fc.tuple(fc.uint8Array({ maxLength: 50 }), fc.nat(20_000)).map(([bytes, count]) => repeat(bytes, count)),
      );
      fc.assert(
        fc.property(content, (bytes) => {
          const raw = decompress(zstdCompressSync(bytes), bytes.length);
          assert.ok(raw.equals(bytes));
        }),
        { numRuns: 60 },
      );
    });

    it("refuses more than is allowed, however small it came", () => {
      const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
      assert.throws(() => decompress(bomb, 1024 * 1024));
    });

    it("refuses what is cut, altered, or no zstd at all", () => {
      const whole = zstdCompressSync(Buffer.from("many words, many words, many words and a few others".repeat(50)));
      for (let length = 1; length < whole.length; length++) {
        assert.throws(() => decompress(whole.subarray(0, length), 10_000), `cut to ${length}`);
      }
      assert.throws(() => decompress(Buffer.from("no zstd at all"), 10_000));
    });
  });
}

function repeat(bytes: Uint8Array, count: number): Uint8Array {
  return Buffer.alloc(count, bytes.length === 0 ? 7 : bytes);
}
