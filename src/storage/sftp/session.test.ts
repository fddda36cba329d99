import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import fc from "fast-check";
import { StorageError } from "../../errors.ts";
import { ConnectionLostError, openSession, SftpStatusError } from "./session.ts";
import type { SftpChannel, SftpSession } from "./session.ts";
import { packetCutter, packetStart, REPLY, REQUEST, STATUS, text, u32, u64 } from "./wire.ts";

interface Asked {
  readonly type: number;
  readonly id: number;
}

/** A server of which the test says every word. */
function scriptedServer(answer: (asked: Asked, say: (bytes: Uint8Array) => void) => void): SftpChannel {
  const toServer = new PassThrough();
  const fromServer = new PassThrough();
  const say = (bytes: Uint8Array): void => void fromServer.write(bytes);
  let hangUp: (reason: string) => void = () => undefined;
  const ended = new Promise<string>((resolve) => (hangUp = resolve));
  toServer.on(
    "data",
    packetCutter(({ type, body }) => answer({ type, id: body.u32() }, say)),
  );
  toServer.on("end", () => hangUp("hung up"));
  return { toServer, fromServer, ended, kill: () => hangUp("killed") };
}

function greeting(version: number, ...extensions: string[]): Buffer {
  return packetStart(REPLY.version, [u32(version), ...extensions.flatMap((name) => [text(name), text("1")])]);
}

function statusPacket({ id }: Asked, code: number, message = ""): Buffer {
  return packetStart(REPLY.status, [u32(id), u32(code), text(message), text("en")]);
}

/** Greets, and then answers by `answer`. */
async function sessionWith(answer: (asked: Asked, say: (bytes: Uint8Array) => void) => void): Promise<SftpSession> {
  return openSession(
    scriptedServer((asked, say) => {
      if (asked.type === REQUEST.init) say(greeting(3, "fsync@openssh.com"));
      else answer(asked, say);
    }),
  );
}

const handle = Buffer.from("handle");

describe("an SFTP session", () => {
  it("gives each answer to its question, in whatever order they come", async () => {
    const held: Asked[] = [];
    const session = await sessionWith((asked, say) => {
      held.push(asked);
      if (held.length < 3) return;
      for (const [index, { id }] of held.entries()) {
        if (index === 1) say(statusPacket({ type: 0, id }, STATUS.noSuchFile));
        else say(packetStart(REPLY.data, [u32(id), text(`answer ${index}`)]));
      }
      held.reverse();
    });
    const reads = [0, 1, 2].map((offset) => session.read(handle, offset, 100));
    const answers = await Promise.allSettled(reads);
    assert.equal(String((answers[0] as PromiseFulfilledResult<Buffer>).value), "answer 0");
    assert.equal((answers[1] as PromiseRejectedResult).reason.code, "ENOENT");
    assert.equal(String((answers[2] as PromiseFulfilledResult<Buffer>).value), "answer 2");
  });

  it("keeps no more than 64 questions open", async () => {
    let open = 0;
    let most = 0;
    const session = await sessionWith((asked, say) => {
      most = Math.max(most, ++open);
      setImmediate(() => {
        open--;
        say(statusPacket(asked, STATUS.ok));
      });
    });
    await Promise.all(Array.from({ length: 1000 }, () => session.write(handle, 0, Buffer.from("x"))));
    assert.equal(most, 64);
  });

  it("names refusals by errno, with the server's words made harmless", async () => {
    const refusals: [number, string][] = [
      [STATUS.noSuchFile, "ENOENT"],
      [STATUS.permissionDenied, "EACCES"],
      [STATUS.unsupported, "EOPNOTSUPP"],
      [STATUS.failure, "EFAILURE"],
      [77, "EFAILURE"],
    ];
    for (const [code, errno] of refusals) {
      const session = await sessionWith((asked, say) => say(statusPacket(asked, code, "no\x1b[31m\n")));
      await assert.rejects(session.remove("x"), (error) => {
        assert.ok(error instanceof SftpStatusError);
        assert.equal(error.code, errno);
        assert.equal(error.message, `${errno}: no?[31m?`);
        return true;
      });
    }
  });

  it("transfers as much at once as the server takes, within reason", async () => {
    const sizes: [number | bigint, number][] = [
      [261_120, 261_120],
      [0, 32_768],
      [2 ** 30, 261_120],
      [8192, 8192],
      [2n ** 64n - 1n, 261_120],
    ];
    for (const [told, used] of sizes) {
      const limit = Buffer.alloc(8);
      limit.writeBigUInt64BE(BigInt(told));
      const session = await openSession(
        scriptedServer((asked, say) => {
          if (asked.type === REQUEST.init) say(greeting(3, "limits@openssh.com"));
          else say(packetStart(REPLY.extended, [u32(asked.id), u64(300_000), limit, limit, u64(100)]));
        }),
      );
      assert.equal(session.maxReadBytes, used);
      assert.equal(session.maxWriteBytes, used);
    }
  });

  it("fails all that is open when the connection breaks, and all that is asked later", async () => {
    const session = await openSession(
      (() => {
        const channel = scriptedServer(({ type }, say) => {
          if (type === REQUEST.init) say(greeting(3));
          else channel.kill();
        });
        return channel;
      })(),
    );
    const open = Array.from({ length: 200 }, () => session.lstat("x"));
    for (const { status, reason } of (await Promise.allSettled(open)) as PromiseRejectedResult[]) {
      assert.equal(status, "rejected");
      assert.ok(reason instanceof ConnectionLostError);
      assert.equal(reason.message, "killed");
    }
    await assert.rejects(session.lstat("x"), ConnectionLostError);
  });

  it("fails what is still open when it is ended", async () => {
    const session = await sessionWith(() => undefined);
    const open = assert.rejects(session.lstat("x"), ConnectionLostError);
    await session.end();
    await open;
    await assert.rejects(session.lstat("x"), ConnectionLostError);
  });

  it("refuses servers that hang up, speak an old version or something else", async () => {
    const killed = scriptedServer(() => killed.kill());
    await assert.rejects(openSession(killed), { name: "ConnectionLostError", message: "killed" });
    const words = [
      greeting(2),
      Buffer.from("Last login: today\n"),
      statusPacket({ type: 0, id: 5 }, 0),
      Buffer.alloc(9, 1),
    ];
    for (const word of words) {
      await assert.rejects(openSession(scriptedServer((_, say) => say(word))), { name: "StorageError" });
    }
  });

  it("breaks off when an answer makes no sense", async () => {
    const nonsense: ((asked: Asked) => Buffer)[] = [
      ({ id }) => packetStart(REPLY.handle, [u32(id), text("handle")]),
      ({ id }) => packetStart(REPLY.data, [u32(id + 1), text("not asked")]),
      ({ id }) => packetStart(99, [u32(id)]),
      () => packetStart(REPLY.data, [Buffer.from("x")]),
      () => u32(0x7fffffff),
    ];
    for (const [index, answer] of nonsense.entries()) {
      const session = await sessionWith((asked, say) => say(answer(asked)));
      await assert.rejects(session.read(handle, 0, 10), { name: "StorageError" }, `answer ${index}`);
      await assert.rejects(session.read(handle, 0, 10), { name: "StorageError" }, `after answer ${index}`);
    }
  });

  it("takes no more data than it asked for", async () => {
    const session = await sessionWith(({ id }, say) => say(packetStart(REPLY.data, [u32(id), text("eleven byte")])));
    await assert.rejects(session.read(handle, 0, 10), { name: "StorageError", message: /11 bytes where at most 10/ });
  });

  it("answers or refuses, whatever the server says", async () => {
    const bytes = fc.array(fc.oneof(fc.constantFrom(0, 0, 0, 1, 5, 101, 102, 103, 104, 105), fc.nat(255)), {
      maxLength: 80,
    });
    await fc.assert(
      fc.asyncProperty(bytes, async (content) => {
        const channel = scriptedServer((asked, say) => {
          if (asked.type === REQUEST.init) return say(greeting(3, "statvfs@openssh.com"));
          say(Buffer.from(content));
          setImmediate(() => channel.kill());
        });
        const session = await openSession(channel);
        const questions = [session.list("x"), session.read(handle, 0, 40), session.stat("x"), session.freeBlocks("x")];
        for (const result of await Promise.allSettled(questions)) {
          if (result.status === "fulfilled") continue;
          const { reason } = result;
          assert.ok(
            reason instanceof StorageError || reason instanceof SftpStatusError || /end of/.test(reason.message),
          );
        }
      }),
      { numRuns: 500 },
    );
  });
});
