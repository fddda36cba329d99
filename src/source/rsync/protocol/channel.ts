import type { Readable, Writable } from "node:stream";
import { freeMemory } from "../../../platform/free-memory.ts";
import { ByteInput } from "./byte-input.ts";
import { ByteOutput } from "./byte-output.ts";
import { RSYNC_EXIT, RsyncFailedError, RsyncProtocolError, rsyncExitWords } from "./rsync-error.ts";

/** The two directions of a connection to an rsync: a child process's pipes, a socket, an ssh channel. */
export interface Transport {
  readonly input: Readable;
  readonly output: Writable;
  /** Whether each chunk of `input` is ours alone, as from a pipe, so that its memory can be given back. */
  readonly chunksAreOurs?: boolean;
}

/** What a multiplexed message is (rsync.h, `enum msgcode`). */
export const MESSAGE = {
  data: 0,
  transferError: 1,
  info: 2,
  error: 3,
  warning: 4,
  socketError: 5,
  log: 6,
  client: 7,
  utf8Error: 8,
  ioError: 22,
  ioTimeout: 33,
  noop: 42,
  errorExit: 86,
  success: 100,
  deleted: 101,
  noSend: 102,
} as const;

/** Bits of "some files could not be read", as a sender reports them. */
export const IO_ERROR = { general: 1, vanished: 2, deleteLimit: 4 } as const;

const IO_ERROR_MASK = IO_ERROR.general | IO_ERROR.vanished | IO_ERROR.deleteLimit;

/** The tag of a message travels with this added. */
const TAG_BASE = 7;
const HEADER_BYTES = 4;
/** rsync itself takes no text longer than a path and a bit. */
const LONGEST_TEXT_BYTES = 32 * 1024;
/** How large a piece of data we wrap at most: what an rsync reads at once. */
const LARGEST_FRAME_BYTES = 32 * 1024;

/**
 * A connection to an rsync, plain at first and multiplexed once both have agreed to it: data to be decoded on `input`,
 * data to be sent on `output` (until `flush`), and messages beside them.
 */
export class Channel {
  readonly input = new ByteInput();
  readonly output = new ByteOutput();
  /** `IO_ERROR` bits that the other side has reported. */
  ioErrors = 0;
  /** Raw bytes on the wire, both ways. */
  receivedBytes = 0;
  sentBytes = 0;
  /** Whether it is the other side's turn: only then may silence be a fault. */
  expectsInput = true;
  /** A line for a person, from the other side; `kind` is one of `MESSAGE`. */
  onText: (kind: number, text: Buffer) => void = () => undefined;
  /** What an end of the connection before its time is told as. */
  closedError: () => Error = () => new RsyncFailedError("the connection was closed before the end", RSYNC_EXIT.stream);
  /** The sender will not send the file of this index. */
  onNoSend: (index: number) => void = () => undefined;
  readonly #transport: Transport;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerLength = 0;
  #messageTag = MESSAGE.data as number;
  #messageRest = 0;
  #messageParts: Buffer[] = [];
  #multiplexedIn = false;
  #multiplexedOut = false;
  #failure: unknown;
  #lastInputMs = performance.now();
  #lastOutputMs = performance.now();
  /** As `#lastOutputMs`, but for the empty messages that keep the connection alive. */
  #lastSaidMs = performance.now();
  /** Since when we wait for the other side and not it for us. */
  #theirTurnMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #wakeWriters: (() => void)[] = [];

  constructor(transport: Transport) {
    this.#transport = transport;
    this.input.onRoom = () => transport.input.resume();
    transport.input.on("data", (chunk: Buffer) => this.#received(chunk));
    transport.input.on("end", () => this.input.end(this.#closedError()));
    transport.input.on("close", () => this.input.end(this.#closedError()));
    transport.input.on("error", (error) => this.fail(connectionError(error)));
    transport.output.on("drain", () => this.#drained());
    transport.output.on("close", () => this.#drained());
    // A broken pipe shows on the reading side as well, and there with the reason that the other side gave.
    transport.output.on("error", () => this.#drained());
  }

  /**
   * Ends the connection, with the error that `silent` gives, when nothing came for `silenceMs` although it was the other
   * side's turn; and sends an empty message when we were silent for `keepAliveMs`, so that the other side does not do the
   * same. Replaces what was set before.
   */
  watch(silenceMs: number, keepAliveMs: number, silent: (seconds: number) => Error = silentFor): void {
    clearInterval(this.#timer);
    this.#theirTurnMs = performance.now();
    const everyMs = Math.max(10, Math.min(keepAliveMs, silenceMs) / 4);
    this.#timer = setInterval(() => {
      const now = performance.now();
      if (!this.#isTheirTurn) this.#theirTurnMs = now;
      const silentMs = now - Math.max(this.#lastInputMs, this.#lastSaidMs, this.#theirTurnMs);
      if (silentMs > silenceMs) {
        this.fail(silent(Math.round(silenceMs / 1000)));
      } else if (this.#multiplexedOut && now - this.#lastOutputMs > keepAliveMs) {
        this.#writeSilently(frameHeader(MESSAGE.data, 0));
      }
    }, everyMs);
    this.#timer.unref();
  }

  /** Not while we ourselves do not take what it says. */
  get #isTheirTurn(): boolean {
    if (!this.expectsInput || this.input.isFull) return false;
    return this.input.isAwaited || this.#transport.output.writableNeedDrain;
  }

  /** From here on, what arrives is wrapped in messages. */
  multiplexInput(): void {
    this.#multiplexedIn = true;
    this.#demultiplex(this.input.takeAll());
  }

  /** From here on, what we send is wrapped in messages. `output` must be empty. */
  multiplexOutput(): void {
    this.#multiplexedOut = true;
  }

  get isMultiplexedOut(): boolean {
    return this.#multiplexedOut;
  }

  /** Sends what `output` holds. Resolves when there is room for more. */
  flush(): Promise<void> {
    if (this.output.length === 0) return this.#room();
    return this.send(this.output.take());
  }

  /** Sends data after what `output` holds, without copying it. Resolves when there is room for more. */
  send(bytes: Buffer): Promise<void> {
    if (this.output.length > 0) this.#sendData(this.output.take());
    this.#sendData(bytes);
    return this.#room();
  }

  #sendData(bytes: Buffer): void {
    if (!this.#multiplexedOut) return this.#write(bytes);
    for (let at = 0; at < bytes.length; at += LARGEST_FRAME_BYTES) {
      const part = bytes.subarray(at, at + LARGEST_FRAME_BYTES);
      this.#write(frameHeader(MESSAGE.data, part.length));
      this.#write(part);
    }
  }

  /** A line for a person at the other side. Nothing happens where messages cannot be sent yet. */
  sendText(kind: number, text: string): void {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += 4000) this.#sendMessage(kind, bytes.subarray(at, at + 4000));
  }

  /** The name of something that was deleted; the other side shows it, if its user wants to know. */
  sendDeleted(path: string, isDirectory: boolean): void {
    this.#sendMessage(MESSAGE.deleted, Buffer.from(isDirectory ? `${path}\0` : path, "latin1"));
  }

  sendNumber(kind: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    this.#sendMessage(kind, bytes);
  }

  #sendMessage(kind: number, payload: Buffer): void {
    if (!this.#multiplexedOut) return;
    this.#write(Buffer.concat([frameHeader(kind, payload.length), payload]));
  }

  /** Says why we stop, ends the connection, and makes all that waits on it fail. */
  fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.input.end(error);
    this.close();
  }

  /** Lets what was sent arrive, and ends our direction. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    if (!this.#transport.output.writable) return;
    await new Promise<void>((resolve) => {
      this.#transport.output.end(resolve);
      this.#transport.output.once("close", resolve);
      this.#transport.output.once("error", () => resolve());
    });
  }

  close(): void {
    clearInterval(this.#timer);
    this.#transport.input.destroy();
    this.#transport.output.destroy();
    this.input.end(this.#closedError());
    this.#drained();
  }

  #write(bytes: Buffer): void {
    this.#lastSaidMs = performance.now();
    this.#writeSilently(bytes);
  }

  #writeSilently(bytes: Buffer): void {
    if (!this.#transport.output.writable) return;
    this.sentBytes += bytes.length;
    this.#lastOutputMs = performance.now();
    this.#transport.output.write(bytes);
  }

  #room(): Promise<void> {
    const { output } = this.#transport;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (!output.writableNeedDrain || !output.writable) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#wakeWriters.push(() => (this.#failure === undefined ? resolve() : reject(this.#failure)));
    });
  }

  #drained(): void {
    const waiting = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of waiting) wake();
  }

  #received(chunk: Buffer): void {
    this.#lastInputMs = performance.now();
    this.receivedBytes += chunk.length;
    try {
      if (this.#multiplexedIn) this.#demultiplex(chunk);
      else this.input.push(chunk);
    } catch (error) {
      this.fail(error);
    }
    if (this.#transport.chunksAreOurs === true) freeMemory(chunk);
    if (this.input.isFull) this.#transport.input.pause();
  }

  #demultiplex(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#headerLength < HEADER_BYTES) {
        const copied = chunk.copy(this.#header, this.#headerLength, at, at + HEADER_BYTES - this.#headerLength);
        this.#headerLength += copied;
        at += copied;
        if (this.#headerLength < HEADER_BYTES) return;
        this.#startMessage();
      } else {
        const part = chunk.subarray(at, at + this.#messageRest);
        at += part.length;
        this.#messageRest -= part.length;
        if (this.#messageTag === MESSAGE.data) this.input.push(part);
        else this.#messageParts.push(Buffer.from(part));
      }
      if (this.#messageRest === 0) this.#endMessage();
    }
  }

  #startMessage(): void {
    const header = this.#header.readUInt32LE();
    this.#messageTag = (header >>> 24) - TAG_BASE;
    this.#messageRest = header & 0xffffff;
    if (this.#messageTag !== MESSAGE.data && this.#messageRest > LONGEST_TEXT_BYTES) {
      throw new RsyncProtocolError(
        `rsync protocol: a message of kind ${this.#messageTag} has ${this.#messageRest} bytes, too many`,
      );
    }
  }

  #endMessage(): void {
    this.#headerLength = 0;
    if (this.#messageTag === MESSAGE.data) return;
    const payload = Buffer.concat(this.#messageParts);
    this.#messageParts = [];
    this.#message(this.#messageTag, payload);
  }

  #message(tag: number, payload: Buffer): void {
    switch (tag) {
      case MESSAGE.transferError:
      case MESSAGE.info:
      case MESSAGE.error:
      case MESSAGE.warning:
      case MESSAGE.socketError:
      case MESSAGE.log:
      case MESSAGE.client:
      case MESSAGE.utf8Error:
      case MESSAGE.deleted:
        this.onText(tag, payload);
        return;
      case MESSAGE.ioError:
        this.ioErrors |= messageNumber(tag, payload) & IO_ERROR_MASK;
        return;
      case MESSAGE.noSend:
        this.onNoSend(messageNumber(tag, payload));
        return;
      case MESSAGE.success:
      case MESSAGE.ioTimeout:
        messageNumber(tag, payload);
        return;
      case MESSAGE.noop:
        return;
      case MESSAGE.errorExit: {
        const exitCode = payload.length === 0 ? 0 : messageNumber(tag, payload);
        throw new RsyncFailedError(`rsync there gave up: ${rsyncExitWords(exitCode)}`, exitCode);
      }
      default:
        throw new RsyncProtocolError(`rsync protocol: a message of the unknown kind ${tag}`);
    }
  }

  #closedError(): unknown {
    return this.#failure ?? this.closedError();
  }
}

function silentFor(seconds: number): RsyncFailedError {
  return new RsyncFailedError(`the other side was silent for ${seconds} s`, RSYNC_EXIT.timeout);
}

function frameHeader(tag: number, length: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE((tag + TAG_BASE) * 2 ** 24 + length);
  return header;
}

function messageNumber(tag: number, payload: Buffer): number {
  if (payload.length !== 4) {
    throw new RsyncProtocolError(`rsync protocol: a message of kind ${tag} has ${payload.length} bytes instead of 4`);
  }
  return payload.readInt32LE();
}

function connectionError(error: unknown): RsyncFailedError {
  const reason = error instanceof Error ? error.message : String(error);
  return new RsyncFailedError(`the connection broke: ${reason}`, RSYNC_EXIT.stream, { cause: error });
}
