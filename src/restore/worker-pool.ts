import type { Worker } from "node:worker_threads";
import { createEarlyWorkers } from "../platform/early-workers.ts";
import { endWorker } from "../platform/worker-threads.ts";
import type { TaskDone, WorkerSetup, WorkerTask } from "./worker/messages.ts";

type WithoutNumber<T> = T extends { number: number } ? Omit<T, "number"> : never;

/** The worker threads of one restore. */
export interface WorkerPool {
  readonly size: number;
  /** Runs a task on the worker that has least to do. `transfer`: memory that is given away. */
  run(task: WithoutNumber<WorkerTask>, transfer: readonly ArrayBuffer[]): Promise<TaskDone>;
  close(): Promise<void>;
}

interface Member {
  readonly worker: Worker;
  readonly waiting: Map<number, { resolve(done: TaskDone): void; reject(error: unknown): void }>;
}

/** May be started before there is a pool that uses them. */
export const restoreWorkers = createEarlyWorkers(new URL("./worker/worker.ts", import.meta.url));

/** Threads start when there is something for them to do. */
export function createWorkerPool(setup: WorkerSetup, size: number): WorkerPool {
  const members: Member[] = [];
  let nextNumber = 1;
  let failure: { readonly error: unknown } | undefined;

  function startMember(): Member {
    const worker = restoreWorkers.take();
    worker.postMessage(setup);
    const member: Member = { worker, waiting: new Map() };
    worker.on("message", (done: TaskDone) => {
      const waiter = member.waiting.get(done.number);
      member.waiting.delete(done.number);
      waiter?.resolve(done);
    });
    worker.on("error", fail);
    worker.on("exit", (code) => {
      if (code !== 0) fail(new Error(`a worker thread stopped with code ${code}`));
    });
    members.push(member);
    return member;
  }

  function fail(error: unknown): void {
    failure ??= { error };
    for (const { waiting } of members) {
      for (const waiter of waiting.values()) waiter.reject(error);
      waiting.clear();
    }
  }

  function idlest(): Member {
    const best = members.reduce<Member | undefined>(
      (least, member) => (least === undefined || member.waiting.size < least.waiting.size ? member : least),
      undefined,
    );
    return best === undefined || (best.waiting.size > 0 && members.length < size) ? startMember() : best;
  }

  return {
    size,
    run(task, transfer) {
      if (failure !== undefined) return Promise.reject(failure.error);
      const member = idlest();
      const number = nextNumber++;
      member.worker.postMessage({ ...task, number }, transfer);
      return new Promise((resolve, reject) => member.waiting.set(number, { resolve, reject }));
    },
    async close() {
      await Promise.all(members.map(({ worker }) => endWorker(worker)));
    },
  };
}
