import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import { endWorker, startWorker } from "./worker-threads.ts";

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

  function startOne(): Worker {
    // They make few objects: a large space for young ones would only wait to be filled.
    return startWorker(module, undefined, { resourceLimits: { maxYoungGenerationSizeMb: 3 } });
  }

  return {
    start(size = availableParallelism()) {
      while (started.length < size) started.push(startOne());
    },
    take: () => started.pop() ?? startOne(),
    async stop() {
      await Promise.all(started.splice(0).map(endWorker));
    },
  };
}
