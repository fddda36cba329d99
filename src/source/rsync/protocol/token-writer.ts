import { constants, createDeflateRaw, createZstdCompress } from "node:zlib";
import type { Channel } from "./channel.ts";
import type { CompressionName } from "./handshake.ts";
import { StreamPump } from "./stream-pump.ts";

/** Writes how a file is put together, from literal bytes and blocks of the basis (rsync's `token.c`). */
export interface TokenWriter {
  literal(bytes: Buffer): Promise<void>;
  /** `content` is the block's, for a compression whose history it becomes a part of. */
  block(index: number, content: Buffer): Promise<void>;
  endFile(): Promise<void>;
  close(): void;
}

/** What an rsync takes at once. */
const LONGEST_LITERAL_BYTES = 32 * 1024;

export function openTokenWriter(
  channel: Channel,
  compression: CompressionName,
  level: number | undefined,
  protocol: number,
): TokenWriter {
  if (compression === "none") return plainTokenWriter(channel);
  return new CompressedTokenWriter(
    channel,
    compression === "zstd" ? zstdCompressor(level) : deflater(compression === "zlib", level, protocol),
  );
}

function plainTokenWriter(channel: Channel): TokenWriter {
  const { output } = channel;
  return {
    async literal(bytes) {
      for (let at = 0; at < bytes.length; at += LONGEST_LITERAL_BYTES) {
        const part = bytes.subarray(at, at + LONGEST_LITERAL_BYTES);
        output.int32(part.length);
        output.raw(part);
        if (output.length >= LONGEST_LITERAL_BYTES) await channel.flush();
      }
    },
    async block(index) {
      output.int32(-1 - index);
      if (output.length >= LONGEST_LITERAL_BYTES) await channel.flush();
    },
    async endFile() {
      output.int32(0);
    },
    close: () => undefined,
  };
}

const LONGEST_COMPRESSED_BYTES = 16383;
const LONGEST_RUN = 65535;
/** Flag bytes; see `token-reader.ts`. */
const END = 0;
const COMPRESSED_DATA = 0x40;
const RELATIVE = 0x80;
const RELATIVE_RUN = 0xc0;
const LONG_NUMBER = 0x20;
const LONG_NUMBER_RUN = 0x21;
const LARGEST_RELATIVE = 63;

interface Compressor {
  startFile(): void;
  /** What comes out by itself. */
  compress(bytes: Buffer): AsyncIterable<Buffer>;
  /** The rest of what was put in, so that the receiver can read all of it. */
  flush(): Promise<Buffer>;
  readonly sees: ((bytes: Buffer) => Promise<void>) | undefined;
  close(): void;
}

class CompressedTokenWriter implements TokenWriter {
  readonly #channel: Channel;
  readonly #compressor: Compressor;
  #isFresh = true;
  #needsFlush = false;
  /** Blocks that follow each other, not yet written. */
  #runStart = -1;
  #runEnd = -1;
  #lastRunEnd = 0;

  constructor(channel: Channel, compressor: Compressor) {
    this.#channel = channel;
    this.#compressor = compressor;
  }

  async literal(bytes: Buffer): Promise<void> {
    this.#start();
    this.#writeRun();
    this.#needsFlush = true;
    for (let at = 0; at < bytes.length; at += LONGEST_LITERAL_BYTES) {
      for await (const piece of this.#compressor.compress(bytes.subarray(at, at + LONGEST_LITERAL_BYTES))) {
        await this.#writeData(piece);
      }
    }
  }

  async block(index: number, content: Buffer): Promise<void> {
    this.#start();
    await this.#flush();
    const continues = this.#runStart >= 0 && index === this.#runEnd + 1 && index - this.#runStart <= LONGEST_RUN;
    if (!continues) {
      this.#writeRun();
      this.#runStart = index;
    }
    this.#runEnd = index;
    await this.#compressor.sees?.(content);
    if (this.#channel.output.length >= LONGEST_LITERAL_BYTES) await this.#channel.flush();
  }

  async endFile(): Promise<void> {
    this.#start();
    this.#writeRun();
    await this.#flush();
    this.#channel.output.byte(END);
    this.#isFresh = true;
  }

  close(): void {
    this.#compressor.close();
  }

  #start(): void {
    if (!this.#isFresh) return;
    this.#isFresh = false;
    this.#lastRunEnd = 0;
    this.#compressor.startFile();
  }

  async #flush(): Promise<void> {
    if (!this.#needsFlush) return;
    this.#needsFlush = false;
    await this.#writeData(await this.#compressor.flush());
  }

  async #writeData(bytes: Buffer): Promise<void> {
    const { output } = this.#channel;
    for (let at = 0; at < bytes.length; at += LONGEST_COMPRESSED_BYTES) {
      const part = bytes.subarray(at, at + LONGEST_COMPRESSED_BYTES);
      output.byte(COMPRESSED_DATA | (part.length >> 8));
      output.byte(part.length & 0xff);
      output.raw(part);
    }
    if (output.length >= LONGEST_LITERAL_BYTES) await this.#channel.flush();
  }

  #writeRun(): void {
    if (this.#runStart < 0) return;
    const { output } = this.#channel;
    const step = this.#runStart - this.#lastRunEnd;
    const more = this.#runEnd - this.#runStart;
    if (step >= 0 && step <= LARGEST_RELATIVE) {
      output.byte((more === 0 ? RELATIVE : RELATIVE_RUN) + step);
    } else {
      output.byte(more === 0 ? LONG_NUMBER : LONG_NUMBER_RUN);
      output.int32(this.#runStart);
    }
    if (more !== 0) output.shortInt(more);
    this.#lastRunEnd = this.#runEnd;
    this.#runStart = -1;
  }
}

async function gather(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

const NOTHING = new Uint8Array(0);

function zstdCompressor(level: number | undefined): Compressor {
  const stream = createZstdCompress({
    params: { [constants.ZSTD_c_compressionLevel]: Math.min(Math.max(level ?? 3, 1), 19) },
  });
  const pump = new StreamPump(stream);
  return {
    startFile: () => undefined,
    compress: (bytes) => pump.through(bytes),
    flush: () => gather(pump.through(NOTHING, (done) => stream.flush(constants.ZSTD_e_flush, done))),
    sees: undefined,
    close: () => pump.close(),
  };
}

/** What each flush ends with, and is left out. */
const END_OF_FLUSH_BYTES = 4;
const LONGEST_STORED_BLOCK = 0xffff;

function deflater(seesBlocks: boolean, level: number | undefined, protocol: number): Compressor {
  const stream = createDeflateRaw({ level: Math.min(Math.max(level ?? 6, 1), 9), memLevel: 8, chunkSize: 64 * 1024 });
  const pump = new StreamPump(stream);
  let isFresh = true;
  const flush = (done: () => void): void => stream.flush(constants.Z_SYNC_FLUSH, done);
  const see = async (bytes: Buffer): Promise<void> => {
    for (let at = 0; at < bytes.length; at += LONGEST_STORED_BLOCK) {
      // Before protocol 31 rsync forgets to go on in a long block, and both sides must do the same.
      const start = protocol >= 31 ? at : 0;
      // What comes out is dropped: the receiver has the block, and puts it into its history by itself.
      await gather(
        pump.through(bytes.subarray(start, start + Math.min(LONGEST_STORED_BLOCK, bytes.length - at)), flush),
      );
    }
  };
  return {
    startFile: () => {
      if (!isFresh) stream.reset();
      isFresh = false;
    },
    compress: (bytes) => pump.through(bytes),
    flush: async () => {
      const rest = await gather(pump.through(NOTHING, flush));
      return rest.subarray(0, Math.max(0, rest.length - END_OF_FLUSH_BYTES));
    },
    sees: seesBlocks ? see : undefined,
    close: () => pump.close(),
  };
}
