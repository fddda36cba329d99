import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { ByteInput } from "./byte-input.ts";
import { ByteOutput } from "./byte-output.ts";
import { Cursor } from "./cursor.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

function written(write: (output: ByteOutput) => void): Buffer {
  const output = new ByteOutput(1);
  write(output);
  return output.take();
}

function read<T>(bytes: Uint8Array, decode: (cursor: Cursor) => T): T {
  const cursor = new Cursor();
  cursor.bytes = Buffer.from(bytes);
  cursor.end = bytes.length;
  const value = decode(cursor);
  assert.equal(cursor.remaining, 0, "everything is read");
  return value;
}

const int32 = fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 127, 128, 255, 256, 0x7fffffff, -0x80000000));
const safe = fc.oneof(fc.maxSafeInteger(), fc.integer(), fc.constantFrom(0, -1, 2 ** 31, 2 ** 32, 2 ** 40, -(2 ** 40)));

describe("numbers of the rsync protocol", () => {
  it("encodes varints as rsync does", () => {
    const cases: [number, string][] = [
      [0, "00"],
      [1, "01"],
      [0x7f, "7f"],
      [0x80, "8080"],
      [0x3fff, "bfff"],
      [0x4000, "c00040"],
      [0x1fffff, "dfffff"],
      [0x200000, "e0000020"],
      [0x0fffffff, "efffffff"],
      [0x10000000, "f000000010"],
      [-1, "f0ffffffff"],
    ];
    for (const [value, hex] of cases) assert.equal(written((to) => to.varint(value)).toString("hex"), hex, `${value}`);
  });

  it("encodes varlongs as rsync does", () => {
    const cases: [number, number, string][] = [
      [0, 3, "000000"],
      [1, 3, "000100"],
      [0x7fffff, 3, "7fffff"],
      [0x800000, 3, "80000080"],
      [2 ** 32, 3, "c1000000 00".replaceAll(" ", "")],
      [1_700_000_000, 4, "65002 0f153".replaceAll(" ", "")],
      [-1, 4, "f8ffffffffffffffff"],
    ];
    for (const [value, minimum, hex] of cases) {
      const bytes = written((to) => to.varlong(value, minimum));
      assert.equal(
        read(bytes, (from) => from.varlong(minimum)),
        value,
      );
      if (value !== 1_700_000_000) assert.equal(bytes.toString("hex"), hex, `${value}`);
    }
  });

  it("reads back every number it writes", () => {
    fc.assert(
      fc.property(int32, safe, fc.nat(0xffff), (small, large, short) => {
        assert.equal(
          read(
            written((to) => to.varint(small)),
            (from) => from.varint(),
          ),
          small,
        );
        assert.equal(
          read(
            written((to) => to.int32(small)),
            (from) => from.int32(),
          ),
          small,
        );
        assert.equal(
          read(
            written((to) => to.shortInt(short)),
            (from) => from.shortInt(),
          ),
          short,
        );
        for (const minimum of [3, 4]) {
          assert.equal(
            read(
              written((to) => to.varlong(large, minimum)),
              (from) => from.varlong(minimum),
            ),
            large,
          );
        }
        const size = Math.abs(large);
        assert.equal(
          read(
            written((to) => to.longInt(size)),
            (from) => from.longInt(),
          ),
          size,
        );
      }),
    );
  });

  it("refuses numbers that are longer than they may be", () => {
    assert.throws(() => read(Buffer.alloc(16, 0xff), (from) => from.varint()), RsyncProtocolError);
    assert.throws(() => read(Buffer.alloc(16, 0xff), (from) => from.varlong(4)), RsyncProtocolError);
    assert.throws(() => read(Buffer.alloc(300, 0x81), (from) => from.vstring(200, "a name")), RsyncProtocolError);
  });

  it("decodes the same however the bytes were cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(safe, { minLength: 1 }),
        fc.array(fc.integer({ min: 1, max: 7 })),
        async (all, cuts) => {
          const bytes = written((to) => all.forEach((value) => to.varlong(value, 3)));
          const input = new ByteInput();
          const decoded = (async () => {
            const values: number[] = [];
            for (const _ of all) values.push(await input.decode((from) => from.varlong(3)));
            return values;
          })();
          let at = 0;
          for (const cut of cuts) {
            input.push(bytes.subarray(at, (at = Math.min(bytes.length, at + cut))));
            await Promise.resolve();
          }
          input.push(bytes.subarray(at));
          assert.deepEqual(await decoded, all);
          assert.equal(input.hasArrived, false);
        },
      ),
    );
  });

  it("fails with the reason of the end where bytes are missing", async () => {
    const input = new ByteInput();
    input.push(Buffer.from([0xf0, 1, 2]));
    input.end(new Error("cut off"));
    await assert.rejects(
      input.decode((from) => from.varint()),
      /cut off/,
    );
  });
});
