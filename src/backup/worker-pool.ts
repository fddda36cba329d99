import type { Worker } from "node:worker_threads";
import { createEarlyWorkers } from "../platform/early-workers.ts";
import { endWorker } from "../platform/worker-threads.ts";
import type { SealedFrame } from "../repository/frame-writer.ts";
import {
  type FileResult,
  unpackResults,
  type WorkerReply,
  type WorkerSetup,
  type WorkerTask,
} from "./worker/messages.ts";

/**
 * The worker threads of one backup. Gives work to the one that has least of it, and says when there is enough.
 */
export interface WorkerPool {
  /** Runs a task on the idlest worker. Contents must not be used afterwards. */
  run(task: TaskWithoutNumber): Promise<readonly FileResult[]>;
  /** Memory for the contents of a task: it goes to the worker with them, and comes back for others. */
  contentsMemory(): Uint8Array<ArrayBuffer>;
  /** A stream of content, bound to one worker. */
  openStream(): WorkerStream;
  /** Resolves when a worker has less to do than it could: back-pressure for whoever reads ahead. */
  ready(): Promise<void>;
  /** Whether `ready` would resolve at once. */
  isReady(): boolean;
  /** Seals what frames are being filled. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface WorkerStream {
  /** Resolves when the next piece may come. The bytes must not be used afterwards. */
  push(bytes: Uint8Array): Promise<void>;
  end(): Promise<FileResult>;
}

type TaskWithoutNumber = WithoutNumber<Extract<WorkerTask, { task: "files" | "contents" | "segment" }>>;
type WithoutNumber<T> = T extends { number: number } ? Omit<T, "number"> : never;

/** How much content is given to a worker at once, at most. */
const CONTENTS_BYTES = 1024 * 1024;
/** Tasks that wait at a worker beside the one it is at. */
const TASKS_AHEAD = 2;
const STREAM_BYTES_AHEAD = 8 * 1024 * 1024;

interface Member {
  readonly worker: Worker;
  readonly waiting: Map<number, { resolve(results: readonly FileResult[]): void; reject(error: unknown): void }>;
  streaming: boolean;
  streamBytesAhead: number;
}

/** May be started before there is a pool that uses them. */
export const backupWorkers = createEarlyWorkers(new URL("./worker/worker.ts", import.meta.url));

/**
 * Workers start when there is first something to do: a run that finds nothing changed needs none. `onFrame` resolves when
 * more frames may come; where it rejects, everything stops.
 */
export function createWorkerPool(
  setup: Omit<WorkerSetup, "framesUnderWay">,
  size: number,
  onFrame: (frame: SealedFrame) => Promise<void>,
): WorkerPool {
  const framesUnderWay = new Int32Array(new SharedArrayBuffer(4));
  let nextNumber = 1;
  let failure: { readonly error: unknown } | undefined;
  let wake: (() => void)[] = [];
  let started: readonly Member[] = [];
  const emptied: Uint8Array<ArrayBuffer>[] = [];

  function members(): readonly Member[] {
    if (started.length === 0) started = Array.from({ length: size }, startMember);
    return started;
  }

  function startMember(): Member {
    const worker = backupWorkers.take();
    worker.postMessage({ ...setup, framesUnderWay } satisfies WorkerSetup);
    const member: Member = { worker, waiting: new Map(), streaming: false, streamBytesAhead: 0 };
    worker.on("message", (message: WorkerReply) => {
      switch (message.reply) {
        case "frame":
          onFrame(message.frame).then(makeRoom, fail);
          return;
        case "piece-taken":
          member.streamBytesAhead -= message.bytes;
          break;
        case "done": {
          if (message.emptied?.length === CONTENTS_BYTES) emptied.push(message.emptied);
          const waiter = member.waiting.get(message.number);
          member.waiting.delete(message.number);
          waiter?.resolve(unpackResults(message.results));
        }
      }
      wakeAll();
    });
    worker.on("error", fail);
    worker.on("exit", (code) => {
      if (code !== 0) fail(new Error(`a worker thread stopped with code ${code}`));
    });
    return member;
  }

  function makeRoom(): void {
    Atomics.sub(framesUnderWay, 0, 1);
    Atomics.notify(framesUnderWay, 0);
  }

  function fail(error: unknown): void {
    failure ??= { error };
    for (const { waiting } of started) {
      for (const waiter of waiting.values()) waiter.reject(error);
      waiting.clear();
    }
    wakeAll();
  }

  function wakeAll(): void {
    const callbacks = wake;
    wake = [];
    for (const callback of callbacks) callback();
  }

  async function until(condition: () => boolean): Promise<void> {
    while (failure === undefined && !condition()) await new Promise<void>((resolve) => wake.push(resolve));
    if (failure !== undefined) throw failure.error;
  }

  function post(member: Member, task: WithoutNumber<WorkerTask>, transfer: ArrayBuffer[] = []): number {
    const number = nextNumber++;
    member.worker.postMessage({ ...task, number }, transfer);
    return number;
  }

  function answer(member: Member, number: number): Promise<readonly FileResult[]> {
    if (failure !== undefined) return Promise.reject(failure.error);
    return new Promise((resolve, reject) => member.waiting.set(number, { resolve, reject }));
  }

  function hasRoom(): boolean {
    return started.length === 0 || started.some((member) => member.waiting.size <= TASKS_AHEAD);
  }

  function idlest(among: readonly Member[]): Member {
    return among.reduce((best, member) => (member.waiting.size < best.waiting.size ? member : best));
  }

  return {
    run(task) {
      const member = idlest(members());
      const transfer = task.task === "contents" ? [task.bytes.buffer] : [];
      return answer(member, post(member, task, transfer));
    },
    contentsMemory: () => emptied.pop() ?? new Uint8Array(Buffer.allocUnsafeSlow(CONTENTS_BYTES).buffer),
    openStream() {
      const free = members().filter((member) => !member.streaming);
      if (free.length === 0) throw new Error("every worker has a stream open");
      const member = idlest(free);
      member.streaming = true;
      post(member, { task: "stream-open" });
      return {
        async push(bytes) {
          await until(() => member.streamBytesAhead < STREAM_BYTES_AHEAD);
          member.streamBytesAhead += bytes.length;
          const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
          const piece = whole ? bytes : new Uint8Array(bytes);
          post(member, { task: "stream-piece", bytes: piece }, [piece.buffer as ArrayBuffer]);
        },
        async end() {
          const number = post(member, { task: "stream-end" });
          member.streaming = false;
          const [result] = await answer(member, number);
          return result;
        },
      };
    },
    ready: () => until(hasRoom),
    isReady: () => failure === undefined && hasRoom(),
    async flush() {
      await Promise.all(started.map((member) => answer(member, post(member, { task: "flush" }))));
    },
    async close() {
      await Promise.all(started.map((member) => endWorker(member.worker)));
    },
  };
}
