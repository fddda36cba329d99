import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  displayPath,
  joinRaw,
  rawPathFromBytes,
  rawPathFromText,
  type RawPath,
  rawPathToBytes,
  rawPathToText,
} from "./raw-path.ts";

describe("raw paths", () => {
  it("give back every sequence of bytes, and order as the bytes do", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (one, other) => {
        assert.deepEqual(new Uint8Array(rawPathToBytes(rawPathFromBytes(one))), one);
        const byBytes = Math.sign(Buffer.compare(one, other));
        const a = rawPathFromBytes(one);
        const b = rawPathFromBytes(other);
        assert.equal(a < b ? -1 : a > b ? 1 : 0, byBytes);
      }),
    );
  });

  it("become text again where they are UTF-8, and undefined where not", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => assert.equal(rawPathToText(rawPathFromText(text)), text)),
    );
    for (const bytes of ["caf\xe9", "\xff", "\xc3\x28", "\xed\xa0\x80", "\xf5\x80\x80\x80"]) {
      assert.equal(rawPathToText(bytes as RawPath), undefined);
    }
    assert.equal(rawPathToText(rawPathFromText("a\ufffdb")), "a\ufffdb");
  });

  const shown: readonly [name: string, bytes: string, display: string][] = [
    ["plain names", "plain name.txt", "plain name.txt"],
    ["UTF-8", "caf\xc3\xa9", "café"],
    ["bytes that are not UTF-8", "caf\xe9!", "caf\\xe9!"],
    ["line ends", "two\nlines\r", "two\\nlines\\r"],
    ["escape sequences", "\x1b[31mred", "\\e[31mred"],
    ["backslashes, so that nothing is ambiguous", "a\\n", "a\\\\n"],
    ["control characters of Unicode", "\xc2\x9b31m", "\\xc2\\x9b31m"],
    ["marks that turn the direction of writing", "a\xe2\x80\xaeb", "a\\xe2\\x80\\xaeb"],
    ["the replacement character, which is a valid one", "a\xef\xbf\xbdb", "a\ufffdb"],
  ];
  for (const [name, bytes, display] of shown) {
    it(`show ${name}`, () => assert.equal(displayPath(bytes as RawPath), display));
  }

  it("never show a control character, and show different paths differently", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (one, other) => {
        const display = displayPath(rawPathFromBytes(one));
        assert.doesNotMatch(display, /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/u);
        if (Buffer.compare(one, other) !== 0) assert.notEqual(display, displayPath(rawPathFromBytes(other)));
      }),
      { numRuns: 1000 },
    );
  });

  it("are joined with one slash", () => {
    assert.equal(joinRaw("" as RawPath, "a" as RawPath), "a");
    assert.equal(joinRaw("a" as RawPath, "b" as RawPath), "a/b");
    assert.equal(joinRaw("/" as RawPath, "b" as RawPath), "/b");
  });
});
