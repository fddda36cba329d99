/**
 * One connection: messages both ways over any pair of byte streams, with signs of life and time limits. Knows nothing of
 * what the messages mean.
 */
import type { Readable, Writable } from "node:stream";
import { ConnectionError, HoldfastError, messageOf } from "../errors.ts";
import { errorOf, failureOf } from "./failure.ts";
import { createMessageDecoder, encodeMessage, type Message, PREFACE } from "./message.ts";
import { createTokenBucket } from "./token-bucket.ts";

/** A pipe, a socket, the two ends of a process. */
export interface ByteChannel {
  readonly input: Readable;
  readonly output: Writable;
  /** Breaks it off at once. */
  destroy(): void;
}

export interface ConnectionOptions {
  /** After this long without a byte from the other side it counts as gone. */
  readonly silenceMs?: number;
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
}

export interface Connection {
  /** Sends, in the order of calls. Does nothing when the connection is over. */
  send(message: Message): void;
  /** Resolves when there is room to send this many bytes more; rejects when the connection is over. */
  room(bytes: number): Promise<void>;
  /** Resolves when all that was sent has left this process, or the connection is over: buffers may be used again. */
  flushed(): Promise<void>;
  /**
   * Messages as they come, but for signs of life. While nobody asks for the next, nothing is read. Ends where the other
   * side has ended well, and throws `ConnectionError`, `ProtocolError`, or what the other side's goodbye says.
   */
  messages(): AsyncGenerator<Message>;
  /** Says why, and ends. */
  close(reason?: unknown): void;
  readonly over: boolean;
  readonly traffic: { readonly sentBytes: number; readonly receivedBytes: number };
}

export const SILENCE_MS = 90_000;

export function openConnection(channel: ByteChannel, options: ConnectionOptions = {}): Connection {
  const { input, output } = channel;
  const silenceMs = options.silenceMs ?? SILENCE_MS;
  const upload = createTokenBucket(options.uploadBytesPerSecond);
  const download = createTokenBucket(options.downloadBytesPerSecond);
  const traffic = { sentBytes: 0, receivedBytes: 0 };
  let failure: HoldfastError | undefined;
  let over = false;
  let writesUnderWay = 0;
  let awaitingInput = false;
  let lastHeardMs = performance.now();
  let lastSentMs = performance.now();
  let blockedSinceMs: number | undefined;
  const watchEveryMs = Math.max(10, Math.min(5000, silenceMs / 6));
  let lastWatchMs = performance.now();
  const waiting = new Set<() => void>();

  function wake(): void {
    for (const resolve of waiting) resolve();
    waiting.clear();
  }

  function changed(): Promise<void> {
    return new Promise((resolve) => waiting.add(resolve));
  }

  function breakOff(error?: HoldfastError): void {
    if (over) return;
    over = true;
    failure ??= error;
    clearInterval(timer);
    channel.destroy();
    wake();
  }

  function lost(error: unknown): void {
    const known = error instanceof HoldfastError ? error : undefined;
    breakOff(known ?? new ConnectionError(`the connection broke: ${messageOf(error)}`, { cause: error }));
  }

  /** The other side may have said why before it closed: that is still to be read. */
  function outputBroke(error: unknown): void {
    if (!over) setTimeout(() => lost(error), LAST_WORDS_MS).unref();
  }

  function write(bytes: Uint8Array): void {
    writesUnderWay++;
    traffic.sentBytes += bytes.length;
    const hasRoom = output.write(bytes, () => {
      writesUnderWay--;
      if (writesUnderWay === 0 || writesUnderWay === MOST_WRITES) wake();
    });
    if (!hasRoom) blockedSinceMs ??= performance.now();
  }

  function send(message: Message): void {
    if (over || !output.writable) return;
    lastSentMs = performance.now();
    output.cork();
    for (const part of encodeMessage(message)) write(part);
    output.uncork();
  }

  function watch(): void {
    const now = performance.now();
    // While this process stood still it could hear nobody: that is not the other side's silence.
    const stalledMs = Math.max(0, now - lastWatchMs - 2 * watchEveryMs);
    lastWatchMs = now;
    lastHeardMs += stalledMs;
    if (blockedSinceMs !== undefined) blockedSinceMs += stalledMs;
    if (awaitingInput && now - lastHeardMs > silenceMs) {
      breakOff(new ConnectionError(`the connection broke: nothing was heard for ${Math.round(silenceMs / 1000)} s`));
    } else if (blockedSinceMs !== undefined && now - blockedSinceMs > silenceMs) {
      breakOff(new ConnectionError(`the connection broke: nothing was taken for ${Math.round(silenceMs / 1000)} s`));
    } else if (now - lastSentMs > silenceMs / 3 && blockedSinceMs === undefined) {
      send({ kind: "ping" });
    }
  }

  async function* messages(): AsyncGenerator<Message> {
    const decoder = createMessageDecoder();
    const chunks = input[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    for (;;) {
      awaitingInput = true;
      lastHeardMs = performance.now();
      let chunk: IteratorResult<Buffer>;
      try {
        chunk = await chunks.next();
      } catch (error) {
        lost(error);
        break;
      }
      awaitingInput = false;
      if (chunk.done === true || over) break;
      traffic.receivedBytes += chunk.value.length;
      await download.take(chunk.value.length);
      for (const message of decode(decoder.feed, chunk.value)) {
        if (message.kind === "ping") send({ kind: "pong" });
        else if (message.kind === "goodbye") {
          const reason = message.failure.code === "" ? undefined : errorOf(message.failure);
          breakOff(reason);
          if (reason !== undefined) throw reason;
          return;
        } else if (message.kind !== "pong") yield message;
      }
      // Who asks on and on and takes no answer would have all of them held here. No side that reads comes near these
      // bounds, so two of them never wait for each other.
      while (!over && (writesUnderWay > MOST_WRITES || output.writableLength > MOST_UNSENT_BYTES)) await changed();
    }
    lost(new Error(decoder.atBoundary() ? "the other side hung up" : "it ended within a message"));
    if (failure !== undefined) throw failure;
  }

  function decode(feed: (bytes: Uint8Array) => Message[], bytes: Uint8Array): Message[] {
    try {
      return feed(bytes);
    } catch (error) {
      close(error);
      throw error;
    }
  }

  function close(reason?: unknown): void {
    if (over) return;
    const told = reason === undefined ? { code: "", message: "", hint: "" } : failureOf(reason);
    send({ kind: "goodbye", failure: told });
    failure ??= reason instanceof HoldfastError ? reason : undefined;
    over = true;
    clearInterval(timer);
    wake();
    // Whoever does not take the last words in a while does not get them.
    const late = setTimeout(() => channel.destroy(), GOODBYE_MS);
    output.end(() => {
      clearTimeout(late);
      channel.destroy();
    });
  }

  const timer = setInterval(watch, watchEveryMs);
  timer.unref();
  output.on("drain", () => {
    blockedSinceMs = undefined;
    wake();
  });
  output.on("error", outputBroke);
  output.on("close", () => outputBroke(new Error("it was closed")));
  // An error between two reads would be nobody's.
  input.on("error", lost);
  write(PREFACE);

  return {
    send,
    async room(bytes) {
      await upload.take(bytes);
      while (!over && output.writableNeedDrain) await changed();
      if (over) throw failure ?? new ConnectionError("the connection was closed");
    },
    async flushed() {
      while (!over && writesUnderWay > 0) await changed();
    },
    messages,
    close,
    get over() {
      return over;
    },
    traffic,
  };
}

const MOST_WRITES = 10_000;
const MOST_UNSENT_BYTES = 16 * 1024 * 1024;
const GOODBYE_MS = 5000;
const LAST_WORDS_MS = 2000;
