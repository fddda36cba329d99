import type { Transform } from "node:stream";
import { RsyncProtocolError } from "./rsync-error.ts";

/** Sends bytes through a (de)compressor that keeps its state from one call to the next. */
export class StreamPump {
  readonly #stream: Transform;
  #failure: unknown;
  #wake: (() => void) | undefined;

  constructor(stream: Transform) {
    this.#stream = stream;
    const wake = (): void => this.#wakeUp();
    stream.on("readable", wake);
    stream.on("error", (error) => {
      this.#failure ??= error;
      wake();
    });
    stream.on("end", () => {
      this.#failure ??= new RsyncProtocolError("rsync protocol: a compressed stream ends before its time");
      wake();
    });
  }

  /** All that comes out when `bytes` go in, piece by piece; `flush` is called once they are in. */
  async *through(bytes: Uint8Array, flush?: (done: () => void) => void): AsyncGenerator<Buffer, void, undefined> {
    let done = false;
    const finished = (): void => {
      done = true;
      this.#wakeUp();
    };
    this.#stream.write(bytes, flush === undefined ? finished : () => flush(finished));
    for (;;) {
      if (this.#failure !== undefined) throw compressionError(this.#failure);
      const piece = this.#stream.read() as Buffer | null;
      if (piece !== null) yield piece;
      else if (done) return;
      else await this.#change(() => done);
    }
  }

  close(): void {
    this.#stream.destroy();
  }

  #change(isDone: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#failure !== undefined || isDone() || this.#stream.readableLength > 0) this.#wakeUp();
    });
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

function compressionError(error: unknown): RsyncProtocolError {
  if (error instanceof RsyncProtocolError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new RsyncProtocolError(`rsync protocol: compressed data cannot be read: ${reason}`, { cause: error });
}
