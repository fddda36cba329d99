import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DamagedError } from "../errors.ts";
import type { ByteReader, ByteWriter } from "./codec.ts";
import {
  createWriter,
  expectEnd,
  readBytes,
  readCount,
  readI64,
  readLatin1,
  readRaw,
  readText,
  readU16,
  readU32,
  readU8,
  readVarint,
  readerOf,
  varintLength,
  writeBytes,
  writeI64,
  writeLatin1,
  writeRaw,
  writeText,
  writeU32,
  writeU8,
  writeVarint,
  writtenCopy,
} from "./codec.ts";

function bytesOf(write: (output: ByteWriter) => void): Buffer {
  const output = createWriter(1);
  write(output);
  return writtenCopy(output);
}

function read<T>(bytes: Buffer, take: (input: ByteReader) => T): T {
  const input = readerOf(bytes, "thing");
  const value = take(input);
  expectEnd(input);
  return value;
}

const GOLDEN: [string, (output: ByteWriter) => void, string][] = [
  ["u8", (output) => writeU8(output, 0xab), "ab"],
  ["u32", (output) => writeU32(output, 0xfedc_ba98), "98badcfe"],
  ["i64 below zero", (output) => writeI64(output, -2), "feffffffffffffff"],
  ["i64 of 1901", (output) => writeI64(output, -(2 ** 31) - 1), "ffffff7fffffffff"],
  ["i64 above zero", (output) => writeI64(output, 2 ** 40 + 5), "0500000000010000"],
  ["varint 0", (output) => writeVarint(output, 0), "00"],
  ["varint 127", (output) => writeVarint(output, 127), "7f"],
  ["varint 128", (output) => writeVarint(output, 128), "8001"],
  ["varint 2^28", (output) => writeVarint(output, 2 ** 28), "8080808001"],
  ["varint 2^31", (output) => writeVarint(output, 2 ** 31), "8080808008"],
  ["varint 2^53 - 1", (output) => writeVarint(output, 2 ** 53 - 1), "ffffffffffffff0f"],
  ["bytes", (output) => writeBytes(output, Buffer.from([1, 2])), "020102"],
  ["raw", (output) => writeRaw(output, Buffer.from([1, 2])), "0102"],
  ["text", (output) => writeText(output, "é"), "02c3a9"],
  ["names", (output) => writeLatin1(output, "\xe9"), "01e9"],
];

for (const [name, write, hex] of GOLDEN) {
  test(`${name} has the bytes that the format says`, () => assert.equal(bytesOf(write).toString("hex"), hex));
}

test("every value comes back", () => {
  fc.assert(
    fc.property(
      fc.nat(0xff),
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.maxSafeInteger(),
      fc.oneof(fc.maxSafeNat(), fc.nat(300), fc.integer({ min: 2 ** 27, max: 2 ** 33 })),
      fc.uint8Array({ maxLength: 100 }),
      fc.string({ unit: "binary", maxLength: 60 }),
      fc.uint8Array({ maxLength: 60 }),
      (u8, u32, i64, varint, raw, text, latin1) => {
        const name = Buffer.from(latin1).toString("latin1");
        const bytes = bytesOf((output) => {
          writeU8(output, u8);
          writeU32(output, u32);
          writeI64(output, i64);
          writeVarint(output, varint);
          writeBytes(output, raw);
          writeText(output, text);
          writeLatin1(output, name);
          writeRaw(output, raw);
        });
        assert.equal(varintLength(varint), bytesOf((output) => writeVarint(output, varint)).length);
        read(bytes, (input) => {
          assert.equal(readU8(input), u8);
          assert.equal(readU32(input), u32);
          assert.equal(readI64(input), i64);
          assert.equal(readVarint(input), varint);
          assert.deepEqual(readBytes(input), Buffer.from(raw));
          assert.equal(readText(input), text);
          assert.equal(readLatin1(input, 60), name);
          assert.deepEqual(readRaw(input, raw.length), Buffer.from(raw));
        });
      },
    ),
  );
});

const REFUSED: [string, string, (input: ByteReader) => unknown, RegExp][] = [
  ["a varint cut off", "80", (input) => readVarint(input), /cut off/],
  ["no varint at all", "", (input) => readVarint(input), /cut off/],
  ["a varint not in its shortest form", "8000", (input) => readVarint(input), /shortest/],
  ["a long varint not in its shortest form", "ffffffffff8000", (input) => readVarint(input), /shortest/],
  ["a varint of nine bytes", "808080808080808001", (input) => readVarint(input), /too long/],
  ["a varint of 2^53", "8080808080808010", (input) => readVarint(input), /is more than 9007199254740991/],
  ["a varint above its limit", "05", (input) => readVarint(input, 4), /5 is more than 4/],
  ["a long varint above its limit", "808080808001", (input) => readVarint(input, 4), /more than 4/],
  ["a u32 cut off", "010203", (input) => readU32(input), /needs 4 bytes, 3 are left/],
  ["an i64 of -2^53", "000000000000e0ff", (input) => readI64(input), /out of range/],
  ["bytes longer than what is there", "0501", (input) => readBytes(input), /needs 5 bytes, 1 are left/],
  ["bytes longer than allowed", "0301020304", (input) => readBytes(input, 2), /3 is more than 2/],
  ["a count that cannot be true", "ff7f0000", (input) => readCount(input, 1), /more than 2 bytes can hold/],
  ["text that is not UTF-8", "02c328", (input) => readText(input), /UTF-8/],
  ["long text that is not UTF-8", `1e${"ff".repeat(30)}`, (input) => readText(input), /UTF-8/],
  ["bytes left over", "0100", (input) => readU8(input), /1 bytes too many/],
];

for (const [name, hex, take, message] of REFUSED) {
  test(`${name} is refused by name`, () => {
    assert.throws(
      () => read(Buffer.from(hex, "hex"), take),
      (error) =>
        error instanceof DamagedError && error.message.startsWith("thing is damaged") && message.test(error.message),
    );
  });
}

test("a u16 is read with its low byte first", () => {
  assert.equal(read(Buffer.from("3412", "hex"), readU16), 0x1234);
});

test("a writer keeps what it holds as it grows", () => {
  const bytes = bytesOf((output) => {
    for (let value = 0; value < 10_000; value++) writeU32(output, value);
  });
  for (let value = 0; value < 10_000; value++) assert.equal(bytes.readUInt32LE(value * 4), value);
});

test("text with a replacement character of its own is valid", () => {
  const bytes = bytesOf((output) => writeText(output, "a\ufffdb".repeat(20)));
  assert.equal(read(bytes, readText), "a\ufffdb".repeat(20));
});
