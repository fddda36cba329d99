/** Every decoder of what an rsync sends, with valid inputs to start from. */
import { PassThrough, Writable } from "node:stream";
import type { RawPath } from "../../src/platform/raw-path.ts";
import { readAcl, writeAcl } from "../../src/source/rsync/protocol/acl.ts";
import { writeBlockSum, writeSumHead } from "../../src/source/rsync/protocol/block-sums.ts";
import { ByteInput } from "../../src/source/rsync/protocol/byte-input.ts";
import { ByteOutput } from "../../src/source/rsync/protocol/byte-output.ts";
import { Channel, MESSAGE } from "../../src/source/rsync/protocol/channel.ts";
import { openStrongSums } from "../../src/source/rsync/protocol/checksums.ts";
import { Cursor, MoreBytesNeeded } from "../../src/source/rsync/protocol/cursor.ts";
import { receiveBlockSums } from "../../src/source/rsync/protocol/delta.ts";
import { receiveFileList } from "../../src/source/rsync/protocol/file-list-decoder.ts";
import type { FileListForm } from "../../src/source/rsync/protocol/file-list-decoder.ts";
import { FileListEncoder } from "../../src/source/rsync/protocol/file-list-encoder.ts";
import { MODE } from "../../src/source/rsync/protocol/file-list.ts";
import { indexOfStep, orderFiles, walkInOrder } from "../../src/source/rsync/protocol/file-order.ts";
import { compileFilterRules } from "../../src/source/rsync/protocol/filter-rules.ts";
import { greetAsClient, greetAsServer } from "../../src/source/rsync/protocol/handshake.ts";
import { IndexReader, IndexWriter, readItemHead, writeItemHead } from "../../src/source/rsync/protocol/items.ts";
import { RsyncProtocolError } from "../../src/source/rsync/protocol/rsync-error.ts";
import { parseServerArguments, splitCommand } from "../../src/source/rsync/protocol/server-arguments.ts";
import { openTokenReader } from "../../src/source/rsync/protocol/token-reader.ts";
import { openTokenWriter } from "../../src/source/rsync/protocol/token-writer.ts";
import {
  readAttributeRequest,
  readAttributes,
  readAttributeValue,
  writeAttributeRequest,
  writeAttributes,
  writeAttributeValues,
} from "../../src/source/rsync/protocol/xattr.ts";
import type { WireAttribute } from "../../src/source/rsync/protocol/xattr.ts";
import type { FuzzTarget } from "./fuzz.ts";

const MEBIBYTE = 1024 * 1024;
const sums = await openStrongSums("md5", 7);

const cut = (): RsyncProtocolError => new RsyncProtocolError("cut");

function inputOf(bytes: Uint8Array): ByteInput {
  const input = new ByteInput();
  input.push(bytes);
  input.end(cut());
  return input;
}

/** Decodes what lies at hand; where more would be needed, that is an end like any other. */
function decodeAt<T>(bytes: Uint8Array, decode: (from: Cursor) => T): T {
  const from = new Cursor();
  from.bytes = Buffer.from(bytes);
  from.end = bytes.length;
  try {
    return decode(from);
  } catch (error) {
    throw error instanceof MoreBytesNeeded ? cut() : error;
  }
}

function written(write: (to: ByteOutput) => void): Buffer {
  const to = new ByteOutput();
  write(to);
  return to.take();
}

function channelWith(bytes: Uint8Array): Channel {
  const input = new PassThrough();
  const channel = new Channel({ input, output: new Writable({ write: (_chunk, _encoding, done) => done() }) });
  channel.input.push(bytes);
  channel.input.end(cut());
  return channel;
}

function form(protocol: number): FileListForm {
  return {
    protocol,
    varintFlags: protocol >= 31,
    safeFileList: protocol >= 31,
    sendsIdZeroNames: protocol >= 31,
    numericIds: false,
    relative: false,
    owners: true,
    groups: true,
    devices: true,
    specials: true,
    symlinks: true,
    hardLinks: true,
    acls: protocol >= 30,
    xattrs: protocol >= 30,
    accessTimes: false,
    creationTimes: false,
    checksumBytes: 16,
  };
}

const ACL = Buffer.from(
  "0200000001000700ffffffff02000500d204000004000500ffffffff10000500ffffffff20000500ffffffff",
  "hex",
);
const attribute: WireAttribute = {
  name: "user.a" as RawPath,
  lengthBytes: 500,
  listed: Buffer.alloc(16, 1),
  number: 1,
};
const shortAttribute: WireAttribute = { ...attribute, lengthBytes: 3, listed: Buffer.from("abc"), number: 2 };

function fileList(protocol: number): Buffer {
  const encoder = new FileListEncoder(form(protocol));
  const kinds = [
    [".", MODE.directory],
    ["a", MODE.directory],
    ["a/b", MODE.file],
    ["a/c", MODE.file],
    ["a/d", MODE.symlink],
    ["e", MODE.character],
    ["f", MODE.fifo],
    [`g${"x".repeat(300)}`, MODE.file],
  ] as const;
  return written((to) => {
    kinds.forEach(([path, type], number) => {
      encoder.write(to, {
        path: path as RawPath,
        file: {
          mode: type | 0o755,
          sizeBytes: 2 ** 33,
          mtimeSeconds: 1e9,
          mtimeNanoseconds: number,
          uid: number,
          gid: 5,
        },
        target: type === MODE.symlink ? ("b" as RawPath) : undefined,
        device: type === MODE.character ? { major: 1, minor: 3 } : undefined,
        xattrs:
          protocol < 30
            ? []
            : [
                { name: "system.posix_acl_access" as RawPath, value: ACL },
                { name: "user.long" as RawPath, value: Buffer.alloc(100, number) },
              ],
        linkKey: type === MODE.file ? "same" : undefined,
        place: "below",
        checksum: type === MODE.file ? Buffer.alloc(16, number) : undefined,
      });
    });
    encoder.writeEnd(to, new Map([[1, "ann"]]), new Map([[5, "staff"]]), 0);
  });
}

const COMPRESSIONS = ["none", "zlib", "zlibx", "zstd"] as const;

async function tokens(compression: (typeof COMPRESSIONS)[number]): Promise<Buffer> {
  const parts: Buffer[] = [];
  const output = new Writable({ write: (chunk: Buffer, _encoding, done) => (parts.push(Buffer.from(chunk)), done()) });
  const channel = new Channel({ input: new PassThrough(), output });
  const writer = openTokenWriter(channel, compression, undefined, 31);
  await writer.literal(Buffer.from("the quick brown fox ".repeat(100)));
  for (const block of [0, 1, 2, 9]) await writer.block(block, Buffer.alloc(700, block));
  await writer.literal(Buffer.from("jumps over the lazy dog"));
  await writer.endFile();
  await channel.flush();
  writer.close();
  channel.close();
  return Buffer.concat(parts);
}

/** What a session takes of one file before it is sure to be told of a limit by others. */
const MOST_CONTENT_BYTES = 64 * MEBIBYTE;
const BASIS_BLOCKS = 100;

async function readTokens(compression: (typeof COMPRESSIONS)[number], bytes: Uint8Array): Promise<void> {
  const reader = openTokenReader(inputOf(bytes), compression, 31);
  let contentBytes = 0;
  const take = (length: number): void => {
    contentBytes += length;
    if (contentBytes > MOST_CONTENT_BYTES) throw cut();
  };
  try {
    await reader.readFile({
      literal: (piece) => take(piece.length),
      block: (index) => {
        if (index >= BASIS_BLOCKS) throw cut();
        take(700);
      },
      blockContent: () => Promise.resolve(Buffer.alloc(700)),
    });
  } finally {
    reader.close();
  }
}

const wrapped = (tag: number, payload: Buffer): Buffer =>
  written((to) => {
    to.int32((tag + 7) * 2 ** 24 + payload.length);
    to.raw(payload);
  });

export const RSYNC_FUZZ_TARGETS: readonly FuzzTarget[] = [
  ...[29, 30, 31].map((protocol): FuzzTarget => ({
    name: `rsync list of files, protocol ${protocol}`,
    seeds: [fileList(protocol)],
    // Columns and names are laid out in segments of a MiB.
    memoryLimitBytes: 8 * MEBIBYTE,
    decode: async (bytes) => {
      const { list } = await receiveFileList(inputOf(bytes), form(protocol), 10_000);
      const order = orderFiles(list);
      for (const step of walkInOrder(list, order, list.absoluteTop() ?? 0)) indexOfStep(order, step);
    },
  })),
  ...(await Promise.all(
    COMPRESSIONS.map(async (compression): Promise<FuzzTarget> => ({
      name: `rsync tokens, ${compression}`,
      seeds: [await tokens(compression)],
      // A decompressor's window, and pieces that nobody has collected yet.
      memoryLimitBytes: 16 * MEBIBYTE + (compression === "none" ? 0 : 2 * MOST_CONTENT_BYTES),
      decode: (bytes) => readTokens(compression, bytes),
    })),
  )),
  {
    name: "rsync sums of blocks",
    seeds: [
      written((to) => {
        const head = { count: 3, blockBytes: 700, strongBytes: 2, remainderBytes: 5 };
        writeSumHead(to, head);
        for (let block = 0; block < 3; block++) writeBlockSum(to, sums, head, Buffer.alloc(700, block));
      }),
    ],
    decode: (bytes) => receiveBlockSums(inputOf(bytes), 31, 16),
  },
  {
    name: "rsync items",
    seeds: [
      written((to) => {
        const writer = new IndexWriter(31);
        for (const index of [0, 5, 1000, 100_000, 3]) {
          writer.write(to, index);
          writeItemHead(to, { flags: 0xd800, basisType: 3, otherName: Buffer.from("other") });
        }
      }),
    ],
    decode: async (bytes) => {
      const input = inputOf(bytes);
      const reader = new IndexReader(31);
      while (input.hasArrived) {
        await reader.read(input);
        await input.decode(readItemHead);
      }
    },
  },
  {
    name: "rsync ACL",
    seeds: [
      written((to) =>
        writeAcl(to, { owner: 7, group: 5, mask: 5, other: 0, named: [{ isUser: true, id: 1234, permissions: 5 }] }),
      ),
    ],
    decode: (bytes) => decodeAt(bytes, (from) => readAcl(from, 3, false)),
  },
  {
    name: "rsync extended attributes",
    seeds: [written((to) => writeAttributes(to, [attribute, shortAttribute]))],
    decode: (bytes) => decodeAt(bytes, (from) => readAttributes(from, 3)),
  },
  {
    name: "rsync request for attributes",
    seeds: [written((to) => writeAttributeRequest(to, [attribute]))],
    decode: (bytes) => decodeAt(bytes, (from) => readAttributeRequest(from, [attribute, shortAttribute])),
  },
  {
    name: "rsync values of attributes",
    seeds: [written((to) => writeAttributeValues(to, [{ attribute, value: Buffer.alloc(500) }]))],
    decode: (bytes) => decodeAt(bytes, (from) => readAttributeValue(from, [attribute, shortAttribute], 0)),
  },
  {
    name: "rsync messages",
    seeds: [
      Buffer.concat([
        wrapped(MESSAGE.data, Buffer.from("data")),
        wrapped(MESSAGE.info, Buffer.from("said\n")),
        wrapped(MESSAGE.ioError, Buffer.from([1, 0, 0, 0])),
        wrapped(MESSAGE.noSend, Buffer.from([1, 0, 0, 0])),
        wrapped(MESSAGE.noop, Buffer.alloc(0)),
      ]),
    ],
    decode: (bytes) => {
      const channel = channelWith(bytes);
      try {
        channel.multiplexInput();
      } finally {
        channel.close();
      }
    },
  },
  {
    name: "rsync greeting of a server",
    seeds: [
      written((to) => {
        to.int32(31);
        to.varint(0x1fa);
        to.vstring(Buffer.from("xxh128 md5"));
        to.vstring(Buffer.from("zstd zlibx"));
        to.int32(99);
      }),
    ],
    decode: async (bytes) => {
      const channel = channelWith(bytes);
      await greetAsClient(channel, { negotiateCompression: true }).finally(() => channel.close());
    },
  },
  {
    name: "rsync greeting of a client",
    seeds: [
      written((to) => {
        to.int32(32);
        to.vstring(Buffer.from("xxh128 md5"));
        to.vstring(Buffer.from("zstd zlibx"));
      }),
    ],
    decode: async (bytes) => {
      const channel = channelWith(bytes);
      const choices = { checksum: undefined, compression: undefined, seed: undefined };
      await greetAsServer(channel, { clientCapabilities: "LsfxCIvu", negotiateCompression: true, ...choices }).finally(
        () => channel.close(),
      );
    },
  },
  {
    name: "rsync filter rules",
    seeds: ["- *.o", "+ /home/**/x[a-z[:digit:]]?\\*", "exclude,! foo/***", "!"].map((rule) => Buffer.from(rule)),
    memoryLimitBytes: 8 * MEBIBYTE,
    decode: (bytes) => {
      const { excludes } = compileFilterRules([Buffer.from(bytes).toString("latin1")]);
      excludes("home/ann/some/where/xa5*", false);
      excludes("foo", true);
    },
  },
  {
    name: "rsync command",
    seeds: [
      "rsync --server -vlogDtprze.LsfxCIvu --delete --timeout=60 --max-size=1.5m . 'a b/'",
      "rsync --server --sender -logDtprRe.iLsfxCIvu --files-from=- --from0 . latest/\\*/x",
    ].map((command) => Buffer.from(command)),
    decode: (bytes) => parseServerArguments(splitCommand(Buffer.from(bytes).toString("latin1")).slice(1)),
  },
];
