import assert from "node:assert/strict";
import { PassThrough, Writable } from "node:stream";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { blockLengthAt } from "./block-sums.ts";
import { ByteInput } from "./byte-input.ts";
import { ByteOutput } from "./byte-output.ts";
import { Channel } from "./channel.ts";
import { openStrongSums, weakSum } from "./checksums.ts";
import { receiveBlockSums, sendDelta } from "./delta.ts";
import { ENTRY_FLAG, receiveFileList } from "./file-list-decoder.ts";
import type { FileListForm } from "./file-list-decoder.ts";
import { MODE } from "./file-list.ts";
import { receiveFilterRules } from "./filter-rules.ts";

const FORM: FileListForm = {
  protocol: 31,
  varintFlags: true,
  safeFileList: true,
  sendsIdZeroNames: true,
  numericIds: true,
  relative: false,
  owners: true,
  groups: true,
  devices: true,
  specials: true,
  symlinks: true,
  hardLinks: false,
  acls: false,
  xattrs: false,
  accessTimes: false,
  creationTimes: false,
  checksumBytes: 0,
};

function inputOf(...outputs: readonly ByteOutput[]): ByteInput {
  const input = new ByteInput();
  for (const output of outputs) input.push(output.take());
  input.end(new Error("no more"));
  return input;
}

test("folders that are only implied count as files of a list do", async () => {
  const to = new ByteOutput();
  for (let number = 0; number < 20; number++) {
    const path = Buffer.from(`${number}/${"a/".repeat(2000)}x`);
    to.varint(ENTRY_FLAG.longName);
    to.varint(path.length);
    to.raw(path);
    to.varlong(1, 3);
    to.varlong(1, 4);
    to.int32(MODE.file | 0o644);
    to.varint(0);
    to.varint(0);
  }
  await assert.rejects(receiveFileList(inputOf(to), FORM, 10_000), /more than 10000 files/);
});

test("filter rules are bounded in all, as one is", async () => {
  const connection = channel();
  const rule = Buffer.from(`- ${"a".repeat(4000)}`);
  const to = new ByteOutput();
  for (let number = 0; number < 300; number++) {
    to.int32(rule.length);
    to.raw(rule);
  }
  connection.input.push(to.take());
  await assert.rejects(receiveFilterRules(connection), /too many filter rules/);
  connection.close();
});

test("sums that fit everywhere and are right nowhere do not make a sender sum for ever", async () => {
  const content = Buffer.alloc(3 * 1024 * 1024);
  const blockBytes = 128 * 1024;
  const sums = await openStrongSums("xxh128", 1);
  const to = new ByteOutput();
  for (const number of [16, blockBytes, 16, 0]) to.int32(number);
  for (let block = 0; block < 16; block++) {
    to.int32(weakSum(content, 0, blockBytes));
    to.raw(Buffer.alloc(16, 0x55));
  }
  const index = await receiveBlockSums(inputOf(to), 31, 16);
  assert.equal(blockLengthAt(index.head, 15), blockBytes);
  let summedBytes = 0;
  const counting = { ...sums, block: (bytes: Uint8Array) => ((summedBytes += bytes.length), sums.block(bytes)) };
  let sentBytes = 0;
  const counts = await sendDelta(pieces(content), index, counting, sums.startFile(), {
    literal: (bytes) => Promise.resolve(void (sentBytes += bytes.length)),
    block: () => assert.fail("no block is the same"),
    endFile: () => Promise.resolve(),
    close: () => undefined,
  });
  assert.equal(sentBytes, content.length);
  assert.deepEqual(counts, { literalBytes: content.length, matchedBytes: 0 });
  assert.ok(summedBytes < 512 * 1024 * 1024, `${summedBytes} bytes were summed`);
});

test("a peer that is silent is left, however often it is told that we are still here", async () => {
  const connection = channel();
  connection.multiplexOutput();
  connection.watch(200, 10);
  await assert.rejects(
    connection.input.decode((from) => from.byte()),
    /silent/,
  );
});

test("a peer is not left because we did not take for a while what it had said", async () => {
  const input = new PassThrough();
  const connection = channel(input);
  connection.watch(200, 10);
  input.write(Buffer.from([1]));
  await wait(400);
  const first = await connection.input.decode((from) => from.byte());
  setTimeout(() => input.write(Buffer.from([2])), 100);
  const second = await connection.input.decode((from) => from.byte());
  assert.deepEqual([first, second], [1, 2]);
  connection.close();
});

function channel(input = new PassThrough()): Channel {
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  return new Channel({ input, output });
}

async function* pieces(content: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < content.length; at += 100_000) yield content.subarray(at, at + 100_000);
}
