import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";

/** Worker threads of one kind, some of which may be started before there is anything to tell them. */
export interface EarlyWorkers {
  /** Lets threads load their code while something else is waited for. */
  start(size?: number): void;
  /** One that was started, or a new one. */
  take(): Worker;
  /** Ends those that were not needed after all. */
  stop(): Promise<void>;
}

export function createEarlyWorkers(module: URL): EarlyWorkers {
  const started: Worker[] = [];

  function startWorker(): Worker {
    // They make few objects: a large space for young ones would only wait to be filled.
    return new Worker(module, { resourceLimits: { maxYoungGenerationSizeMb: 3 } });
  }

  return {
    start(size = availableParallelism()) {
      while (started.length < size) started.push(startWorker());
    },
    take: () => started.pop() ?? startWorker(),
    async stop() {
      await Promise.all(started.splice(0).map((worker) => worker.terminate()));
    },
  };
}
