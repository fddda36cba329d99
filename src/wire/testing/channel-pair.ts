import { Transform } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { ByteChannel } from "../connection.ts";

export interface ChannelPair {
  readonly agent: ByteChannel;
  readonly server: ByteChannel;
  /** Breaks both, as a lost line does. */
  readonly cut: () => void;
}

/** Two ends of a connection in memory, whose line takes this long each way. */
export function channelPair(delayMs = 0): ChannelPair {
  const up = line(delayMs);
  const down = line(delayMs);
  const cut = (): void => {
    up.destroy();
    down.destroy();
  };
  return {
    agent: { input: down, output: up, destroy: cut },
    server: { input: up, output: down, destroy: cut },
    cut,
  };
}

/** Bytes come out later, in order. With no delay still not at once: two ends that talk must not keep all others waiting. */
function line(delayMs: number): Transform {
  let last: Promise<unknown> = Promise.resolve();
  const stream = new Transform({
    readableHighWaterMark: 64 * 1024 * 1024,
    transform(chunk: Buffer, _encoding, callback) {
      const due = delayMs === 0 ? new Promise((resolve) => setImmediate(resolve)) : wait(delayMs);
      // Once it says that it has a chunk, whose memory that is may use it for something else.
      const copy = Buffer.from(chunk);
      last = Promise.all([last, due]).then(() => {
        if (!stream.destroyed) stream.push(copy);
      });
      callback();
    },
    flush(callback) {
      // Not when the promise settles, whose errors would be the callback's.
      void last.then(() => setImmediate(callback));
    },
  });
  return stream;
}
