/**
 * Requests and their answers over a connection: many at once, each with at most one stream either way, under credit.
 * Only the agent asks; only the server answers.
 */
import { BusyError, ConnectionError, HoldfastError, ProtocolError } from "../errors.ts";
import { malformed } from "./bytes.ts";
import type { Connection } from "./connection.ts";
import { errorOf, failureOf } from "./failure.ts";
import { DATA_BYTES, INITIAL_CREDIT_BYTES, type Message } from "./message.ts";

/** Requests that may be under way at once on one connection. */
export const MAXIMUM_REQUESTS = 64;

export interface Call {
  readonly method: number;
  readonly body: Uint8Array;
  /** Content to send along. The pieces must not change until the call has settled. */
  readonly upload?: readonly Uint8Array[] | undefined;
  /** Told of the answer, before the stream that may follow it. */
  readonly onAnswer?: (body: Buffer) => void;
  /** Told of each piece of that stream. What either throws ends the call. */
  readonly onData?: (bytes: Uint8Array) => void;
}

/** The asking side. */
export interface Requester {
  /** Resolves with the answer when all of it is here. Rejects with the other side's error, or `ConnectionError`. */
  call(call: Call): Promise<Buffer>;
  /** Takes in what the server sends, until the connection is over; all calls then reject with why it is. Never rejects. */
  run(messages: AsyncGenerator<Message>): Promise<void>;
  /** Rejects all calls, now and later. */
  end(error: unknown): void;
}

interface PendingCall {
  readonly call: Call;
  answer: Buffer | undefined;
  credit: number;
  settled: boolean;
  wake: () => void;
  readonly settle: (error: unknown) => void;
}

/** Calls may be made before `run`: they are sent at once. */
export function createRequester(connection: Connection): Requester {
  const pending = new Map<number, PendingCall>();
  const queue: (() => void)[] = [];
  let nextId = 1;
  let ended: { readonly error: unknown } | undefined;
  let lastUpload: Promise<void> = Promise.resolve();

  /**
   * Large contents are sent one after another. Side by side they would share the line, end at the same time, and leave it
   * unused while all of them are being stored.
   */
  async function call(what: Call): Promise<Buffer> {
    if (!isLarge(what)) return callNow(what);
    const before = lastUpload;
    const sent = Promise.withResolvers<void>();
    lastUpload = sent.promise;
    await before;
    return callNow(what, sent.resolve).finally(sent.resolve);
  }

  async function callNow(what: Call, onSent?: () => void): Promise<Buffer> {
    while (pending.size >= MAXIMUM_REQUESTS && ended === undefined) {
      await new Promise<void>((resolve) => queue.push(resolve));
    }
    if (ended !== undefined) throw ended.error;
    const id = nextId++;
    const settled = Promise.withResolvers<void>();
    const entry: PendingCall = {
      call: what,
      answer: undefined,
      credit: INITIAL_CREDIT_BYTES,
      settled: false,
      wake: () => undefined,
      settle(error) {
        if (entry.settled) return;
        entry.settled = true;
        pending.delete(id);
        queue.shift()?.();
        entry.wake();
        if (error === undefined) settled.resolve();
        else settled.reject(error);
      },
    };
    pending.set(id, entry);
    const hasContent = what.upload !== undefined;
    connection.send({ kind: "request", id, method: what.method, hasContent, body: Buffer.from(what.body) });
    const sending = what.upload === undefined ? undefined : sendUpload(id, entry, what.upload, onSent);
    try {
      await settled.promise;
    } finally {
      await sending;
    }
    if (entry.answer === undefined) throw malformed("a request ended without an answer");
    return entry.answer;
  }

  /** Never rejects: what goes wrong with the connection settles the call as well. */
  async function sendUpload(
    id: number,
    entry: PendingCall,
    content: readonly Uint8Array[],
    onSent?: () => void,
  ): Promise<void> {
    try {
      for (const bytes of piecesOf(content)) {
        while (entry.credit < bytes.length && !entry.settled)
          await new Promise<void>((resolve) => (entry.wake = resolve));
        if (entry.settled) break;
        entry.credit -= bytes.length;
        connection.send({ kind: "data", id, bytes });
        await connection.room(bytes.length);
      }
      connection.send({ kind: "end", id });
      onSent?.();
    } catch (error) {
      entry.settle(error);
    }
    // The caller may use its buffers again as soon as the call has settled.
    await connection.flushed();
  }

  function receive(message: Message): void {
    if (!("id" in message)) throw malformed(`${message.kind} in the middle of a connection`);
    const entry = pending.get(message.id);
    // Answers may cross with what ended the call here.
    if (entry === undefined) {
      if (message.id >= nextId) throw malformed("an answer to what nobody asked");
      return;
    }
    switch (message.kind) {
      case "answer":
        if (entry.answer !== undefined) throw malformed("two answers to one request");
        entry.answer = Buffer.from(message.body);
        return tell(message.id, entry, () => entry.call.onAnswer?.(entry.answer!));
      case "data":
        if (entry.answer === undefined || entry.call.onData === undefined)
          throw malformed("data that nobody asked for");
        tell(message.id, entry, () => entry.call.onData?.(message.bytes));
        if (!entry.settled) connection.send({ kind: "credit", id: message.id, bytes: message.bytes.length });
        return;
      case "end":
        return entry.settle(undefined);
      case "failure":
        return entry.settle(errorOf(message.failure));
      case "credit":
        entry.credit += message.bytes;
        return entry.wake();
      default:
        throw malformed(`a server that sends ${message.kind}`);
    }
  }

  function tell(id: number, entry: PendingCall, act: () => void): void {
    try {
      act();
    } catch (error) {
      connection.send({ kind: "cancel", id });
      entry.settle(error);
    }
  }

  async function run(messages: AsyncGenerator<Message>): Promise<void> {
    try {
      for await (const message of messages) receive(message);
      end(new ConnectionError("the connection was closed"));
    } catch (error) {
      connection.close(error);
      end(error);
    }
  }

  function end(error: unknown): void {
    ended ??= { error };
    for (const entry of pending.values()) entry.settle(error);
    for (const resolve of queue.splice(0)) resolve();
  }

  return { call, run, end };
}

function isLarge({ upload = [] }: Call): boolean {
  return upload.reduce((sum, part) => sum + part.length, 0) > DATA_BYTES;
}

function* piecesOf(content: readonly Uint8Array[]): Generator<Uint8Array, undefined> {
  for (const part of content) {
    for (let at = 0; at < part.length; at += DATA_BYTES) yield part.subarray(at, at + DATA_BYTES);
  }
}

/** A request as the answering side sees it. */
export interface IncomingRequest {
  readonly method: number;
  readonly body: Buffer;
  /** The content sent along, while it arrives. What is not taken is not granted. Rejects where the agent gave up. */
  upload(): AsyncGenerator<Uint8Array>;
  /** To be called once, before the first `send`. */
  answer(body: Uint8Array): void;
  /** Sends part of the stream that follows the answer; resolves when more may be sent. */
  send(bytes: Uint8Array): Promise<void>;
  /** Aborted when the agent gives up or the connection is over. */
  readonly signal: AbortSignal;
}

export interface AnswerOptions {
  /** How long an agent may take between two pieces of an upload. */
  readonly stallMs?: number;
  /** Content that waits to be taken, of all requests: beyond it nothing more is read. */
  readonly bufferedBytes?: number;
  /** Told of what is no `HoldfastError`: a fault of ours. */
  readonly onFault?: (error: unknown) => void;
}

interface OpenRequest {
  readonly controller: AbortController;
  /** What the agent may still send. */
  granted: number;
  readonly arrived: Uint8Array[];
  uploadEnded: boolean;
  /** The agent has been answered or has given up; what it still sends is dropped. */
  done: boolean;
  credit: number;
  wake: () => void;
}

const STALL_MS = 5 * 60_000;
const BUFFERED_BYTES = 8 * 1024 * 1024;

/**
 * Answers the requests of a connection, of which `first` was read already, until the connection is over. Rejects with why
 * it is, where it did not end well. Handlers that are still at work then have their signal aborted, and are waited for.
 */
export async function answerRequests(
  connection: Connection,
  messages: AsyncGenerator<Message>,
  handle: (request: IncomingRequest) => Promise<void>,
  options: AnswerOptions = {},
): Promise<void> {
  const { stallMs = STALL_MS, bufferedBytes = BUFFERED_BYTES } = options;
  const open = new Map<number, OpenRequest>();
  const working = new Set<Promise<void>>();
  let lastId = 0;
  let buffered = 0;
  let wakeReader = (): void => undefined;

  function begin(message: Extract<Message, { kind: "request" }>): void {
    if (message.id <= lastId) throw malformed("a request number was used twice");
    lastId = message.id;
    if (open.size >= MAXIMUM_REQUESTS) throw new BusyError(`more than ${MAXIMUM_REQUESTS} requests at once`);
    const state: OpenRequest = {
      controller: new AbortController(),
      granted: INITIAL_CREDIT_BYTES,
      arrived: [],
      uploadEnded: !message.hasContent,
      done: false,
      credit: INITIAL_CREDIT_BYTES,
      wake: () => undefined,
    };
    open.set(message.id, state);
    const work = answerOne(message, state).finally(() => working.delete(work));
    working.add(work);
  }

  async function answerOne(message: Extract<Message, { kind: "request" }>, state: OpenRequest): Promise<void> {
    const { id } = message;
    try {
      await handle(requestOf(message, state));
      connection.send({ kind: "end", id });
    } catch (error) {
      if (!(error instanceof HoldfastError)) options.onFault?.(error);
      connection.send({ kind: "failure", id, failure: failureOf(error) });
    }
    state.done = true;
    drop(state);
    // Else its number is in use until the end of its content has come.
    if (state.uploadEnded) open.delete(id);
  }

  function drop(state: OpenRequest): void {
    for (const bytes of state.arrived.splice(0)) buffered -= costOf(bytes);
    wakeReader();
  }

  function requestOf({ id, method, body }: Extract<Message, { kind: "request" }>, state: OpenRequest): IncomingRequest {
    const { signal } = state.controller;
    return {
      method,
      body,
      signal,
      async *upload() {
        for (;;) {
          const bytes = state.arrived.shift();
          if (bytes !== undefined) {
            buffered -= costOf(bytes);
            wakeReader();
            yield bytes;
            state.granted += bytes.length;
            connection.send({ kind: "credit", id, bytes: bytes.length });
          } else if (state.uploadEnded) return;
          else await something(state, stallMs, "the content stopped arriving");
        }
      },
      answer: (answer) => connection.send({ kind: "answer", id, body: Buffer.from(answer) }),
      async send(bytes) {
        for (const piece of piecesOf([bytes])) {
          while (state.credit < piece.length) await something(state, stallMs, "nothing was taken any more");
          signal.throwIfAborted();
          state.credit -= piece.length;
          connection.send({ kind: "data", id, bytes: piece });
          await connection.room(piece.length);
        }
      },
    };
  }

  function receive(message: Message): void {
    if (message.kind === "request") return begin(message);
    if (!("id" in message)) throw malformed(`${message.kind} in the middle of a connection`);
    if (message.kind === "answer" || message.kind === "failure") throw malformed(`an agent that sends ${message.kind}`);
    const state = open.get(message.id);
    if (state === undefined) {
      if (message.id > lastId) throw malformed(`${message.kind} before its request`);
      // An agent that has not yet seen the end of the answer may send credit for it, or a cancel.
      if (message.kind !== "data") return;
      throw malformed("content for a request that is over");
    }
    switch (message.kind) {
      case "data":
        if (state.uploadEnded || message.bytes.length > state.granted) throw malformed("more content than was granted");
        state.granted -= message.bytes.length;
        if (state.done) return;
        // Of a short one a copy, as a view would keep the whole chunk that it came in.
        state.arrived.push(message.bytes.length < 4096 ? Buffer.from(message.bytes) : message.bytes);
        buffered += costOf(message.bytes);
        return state.wake();
      case "end":
        state.uploadEnded = true;
        if (state.done) open.delete(message.id);
        return state.wake();
      case "credit":
        state.credit = Math.min(state.credit + message.bytes, INITIAL_CREDIT_BYTES);
        return state.wake();
      case "cancel":
        state.controller.abort(new ConnectionError("the agent gave the request up"));
        return state.wake();
    }
  }

  try {
    for await (const message of messages) {
      receive(message);
      while (buffered > bufferedBytes) await new Promise<void>((resolve) => (wakeReader = resolve));
    }
  } catch (error) {
    connection.close(error);
    throw error;
  } finally {
    for (const state of open.values()) {
      state.controller.abort(new ConnectionError("the connection is over"));
      state.wake();
    }
    await Promise.all(working);
  }
}

/** What a piece takes in memory, about: one of a single byte takes far more than that. */
function costOf(bytes: Uint8Array): number {
  return bytes.length + 256;
}

/** Waits until something happens to the request. */
async function something(state: OpenRequest, stallMs: number, problem: string): Promise<void> {
  const { signal } = state.controller;
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  state.wake = resolve;
  const timer = setTimeout(() => {
    reject(new ProtocolError(`${problem} for ${Math.round(stallMs / 1000)} s`));
  }, stallMs);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    state.wake = () => undefined;
  }
  signal.throwIfAborted();
}
