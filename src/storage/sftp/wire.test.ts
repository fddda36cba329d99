import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { StorageError } from "../../errors.ts";
import { packetCutter, packetStart, REPLY, text, u32, u64 } from "./wire.ts";
import type { Packet, PacketBody } from "./wire.ts";

describe("SFTP packets", () => {
  function cutAll(chunks: readonly Buffer[]): Packet[] {
    const packets: Packet[] = [];
    const cut = packetCutter((packet) => packets.push(packet));
    for (const chunk of chunks) cut(chunk);
    return packets;
  }

  function bodyOf(...fields: Uint8Array[]): PacketBody {
    return cutAll([packetStart(REPLY.name, fields)])[0].body;
  }

  it("are found wherever the stream is cut", () => {
    const contents = fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 50 })));
    fc.assert(
      fc.property(contents, fc.infiniteStream(fc.integer({ min: 1, max: 30 })), (packets, sizes) => {
        let rest = Buffer.concat(packets.map(([type, body]) => packetStart(type, [u32(body.length), body])));
        const chunks: Buffer[] = [];
        for (const size of sizes) {
          if (rest.length === 0) break;
          chunks.push(rest.subarray(0, size));
          rest = rest.subarray(size);
        }
        const found = cutAll(chunks).map(({ type, body }) => [type, new Uint8Array(body.bytes(50))]);
        assert.deepEqual(found, packets);
      }),
    );
  });

  it("give names with their attributes, whichever of these the server tells", () => {
    const everything = [
      u32(0x8000000f), // size, owner, permissions, times, extended
      u64(2 ** 40),
      u32(1000),
      u32(100),
      u32(0o100600),
      u32(1),
      u32(1_700_000_000),
      u32(1),
      text("acl@example"),
      text("value"),
    ];
    const body = bodyOf(u32(2), text("full"), text("-rw------- full"), ...everything, text("bare"), text(""), u32(0));
    assert.deepEqual(body.names(), [
      { name: "full", sizeBytes: 2 ** 40, mode: 0o100600, modifiedSeconds: 1_700_000_000 },
      { name: "bare", sizeBytes: undefined, mode: undefined, modifiedSeconds: undefined },
    ]);
  });

  it("that claim more than can be are refused before memory is taken for it", () => {
    assert.throws(() => cutAll([u32(1024 * 1024 + 1)]), StorageError);
    assert.throws(() => cutAll([u32(0)]), StorageError);
    assert.throws(() => bodyOf(u32(0xffffffff)).names(), StorageError);
    assert.throws(() => bodyOf(u32(60_000)).names(), StorageError);
    assert.throws(() => bodyOf(u32(257), Buffer.alloc(257)).handle(), StorageError);
    assert.throws(() => bodyOf(u32(11), Buffer.alloc(11)).bytes(10), StorageError);
    assert.throws(() => bodyOf(u32(10), Buffer.alloc(9)).bytes(10), StorageError);
    assert.throws(() => bodyOf(Buffer.alloc(8, 0xff)).u64(), StorageError);
    assert.throws(() => bodyOf(u32(0x80000000), u32(0xffffffff)).attributes(), StorageError);
  });

  it("that are text say which file on the server to look at", () => {
    assert.throws(() => cutAll([Buffer.from("Welcome to example.org\n")]), { name: "StorageError", hint: /bashrc/ });
  });

  it("of any bytes are read or refused, and take no more memory than they have bytes", () => {
    const readers: ((body: PacketBody) => unknown)[] = [
      (body) => body.names(),
      (body) => body.attributes(),
      (body) => body.extensions(),
      (body) => body.handle(),
      (body) => [body.u64(), body.u32(), body.bytes(100)],
    ];
    // Mostly small numbers, so that lengths and counts are often believable.
    const bytes = fc.array(fc.oneof(fc.constantFrom(0, 0, 0, 1, 4, 8, 0x80), fc.nat(255)), { maxLength: 200 });
    fc.assert(
      fc.property(bytes, fc.constantFrom(...readers), (content, read) => {
        try {
          const size = JSON.stringify(read(bodyOf(Buffer.from(content)))).length;
          assert.ok(size < 200 + content.length * 30, `${size}`);
        } catch (error) {
          if (!(error instanceof StorageError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});
