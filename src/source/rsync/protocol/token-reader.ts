import { constants, createInflateRaw, createZstdDecompress } from "node:zlib";
import type { InflateRaw } from "node:zlib";
import type { ByteInput } from "./byte-input.ts";
import type { Cursor } from "./cursor.ts";
import type { CompressionName } from "./handshake.ts";
import { RsyncProtocolError } from "./rsync-error.ts";
import { StreamPump } from "./stream-pump.ts";

/** Takes what a file is put together from, in order. Where a promise is returned, the next waits for it. */
export interface TokenSink {
  /** The bytes are only valid until it returns, whether with a promise or not. */
  literal(bytes: Buffer): void | Promise<void>;
  block(index: number): void | Promise<void>;
  /** The content of a block that was just named: for a compression whose history it becomes a part of. */
  blockContent(index: number): Promise<Uint8Array>;
}

/** Reads how a file is put together, from literal bytes and blocks of the basis (rsync's `token.c`). */
export interface TokenReader {
  readFile(sink: TokenSink): Promise<void>;
  close(): void;
}

export function openTokenReader(input: ByteInput, compression: CompressionName, protocol: number): TokenReader {
  if (compression === "none") return { readFile: (sink) => readPlainTokens(input, sink), close: () => undefined };
  const decompressor = compression === "zstd" ? zstdDecompressor() : inflater(compression === "zlib", protocol);
  return {
    readFile: async (sink) => {
      decompressor.startFile();
      await readCompressedTokens(input, decompressor, sink);
    },
    close: () => decompressor.close(),
  };
}

const readInt32 = (from: Cursor): number => from.int32();
const readByte = (from: Cursor): number => from.byte();

async function readPlainTokens(input: ByteInput, sink: TokenSink): Promise<void> {
  for (;;) {
    const token = input.tryDecode(readInt32) ?? (await input.decode(readInt32));
    if (token === 0) return;
    if (token < 0) {
      const busy = sink.block(-1 - token);
      if (busy !== undefined) await busy;
      continue;
    }
    for (let rest = token; rest > 0;) {
      const piece = input.tryView(rest);
      if (piece === undefined) {
        await input.more();
        continue;
      }
      rest -= piece.length;
      const busy = sink.literal(piece);
      if (busy !== undefined) await busy;
    }
  }
}

/** Flag bytes of a compressed stream (token.c). */
const FLAG = {
  end: 0,
  kindMask: 0xc0,
  compressedData: 0x40,
  /** The six lower bits are added to the number of the block before. */
  relative: 0x80,
  longNumber: 0x20,
  longNumberWithRun: 0x21,
} as const;

const HIGHEST_BLOCK = 0x7ffffffe;

interface Decompressor {
  startFile(): void;
  decompress(bytes: Buffer): AsyncIterable<Buffer>;
  /** A token follows after compressed data. */
  endOfData(): Promise<void>;
  /** A block of the basis stands here; undefined where that means nothing to the compression. */
  readonly sees: ((bytes: Uint8Array) => Promise<void>) | undefined;
  close(): void;
}

async function readCompressedTokens(input: ByteInput, decompressor: Decompressor, sink: TokenSink): Promise<void> {
  let block = 0;
  let hasData = false;
  for (;;) {
    const flag = await input.decode(readByte);
    if ((flag & FLAG.kindMask) === FLAG.compressedData) {
      const bytes = await input.decode((from) => {
        const length = (flag & 0x3f) * 256 + from.byte();
        return from.copy(length);
      });
      hasData = true;
      for await (const piece of decompressor.decompress(bytes)) {
        const busy = sink.literal(piece);
        if (busy !== undefined) await busy;
      }
      continue;
    }
    if (hasData) await decompressor.endOfData();
    hasData = false;
    if (flag === FLAG.end) return;
    const { first, run } = await readBlockNumbers(input, flag, block);
    for (block = first; block <= first + run; block++) {
      const busy = sink.block(block);
      if (busy !== undefined) await busy;
      if (decompressor.sees !== undefined) await decompressor.sees(await sink.blockContent(block));
    }
    block = first + run;
  }
}

async function readBlockNumbers(
  input: ByteInput,
  flag: number,
  previous: number,
): Promise<{ readonly first: number; readonly run: number }> {
  const isRelative = (flag & FLAG.relative) !== 0;
  if (!isRelative && flag !== FLAG.longNumber && flag !== FLAG.longNumberWithRun) {
    throw new RsyncProtocolError(`rsync protocol: an unknown flag ${flag} among compressed data`);
  }
  const hasRun = isRelative ? (flag & 0x40) !== 0 : flag === FLAG.longNumberWithRun;
  const { first, run } = await input.decode((from) => ({
    first: isRelative ? previous + (flag & 0x3f) : from.int32(),
    run: hasRun ? from.shortInt() : 0,
  }));
  if (first < 0 || first + run > HIGHEST_BLOCK || (hasRun && run === 0)) {
    throw new RsyncProtocolError("rsync protocol: an impossible number of a block among compressed data");
  }
  return { first, run };
}

/** One stream for the whole session; it is flushed at the end of each file. */
function zstdDecompressor(): Decompressor {
  const pump = new StreamPump(createZstdDecompress({ chunkSize: 128 * 1024 }));
  return {
    startFile: () => undefined,
    decompress: (bytes) => pump.through(bytes),
    endOfData: () => Promise.resolve(),
    sees: undefined,
    close: () => pump.close(),
  };
}

/** What the sender leaves out at the end of each flush, because it is always the same. */
const END_OF_FLUSH = Buffer.from([0, 0, 0xff, 0xff]);
const LONGEST_STORED_BLOCK = 0xffff;

/** One stream a file. With `zlib`, but not with `zlibx`, blocks of the basis are a part of its history. */
function inflater(seesBlocks: boolean, protocol: number): Decompressor {
  const stream: InflateRaw = createInflateRaw({
    flush: constants.Z_SYNC_FLUSH,
    finishFlush: constants.Z_SYNC_FLUSH,
    chunkSize: 128 * 1024,
  });
  const pump = new StreamPump(stream);
  let isFresh = true;
  const drop = async (bytes: Uint8Array): Promise<void> => {
    for await (const _ of pump.through(bytes));
  };
  const see = async (bytes: Uint8Array): Promise<void> => {
    for (let at = 0; at < bytes.length; at += LONGEST_STORED_BLOCK) {
      // Before protocol 31 rsync forgets to go on in a long block, and both sides must do the same.
      const start = protocol >= 31 ? at : 0;
      const part = bytes.subarray(start, start + Math.min(LONGEST_STORED_BLOCK, bytes.length - at));
      const stored = Buffer.alloc(5 + part.length);
      stored.writeUInt16LE(part.length, 1);
      stored.writeUInt16LE(part.length ^ 0xffff, 3);
      stored.set(part, 5);
      await drop(stored);
    }
  };
  return {
    startFile: () => {
      if (!isFresh) stream.reset();
      isFresh = false;
    },
    decompress: (bytes) => pump.through(bytes),
    endOfData: async () => {
      for await (const piece of pump.through(END_OF_FLUSH)) {
        if (piece.length > 0) throw new RsyncProtocolError("rsync protocol: compressed data lost its thread");
      }
    },
    sees: seesBlocks ? see : undefined,
    close: () => pump.close(),
  };
}
