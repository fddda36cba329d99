import { endWorker, startWorker } from "../platform/worker-threads.ts";
import type { LocalSourceOptions } from "../source/local/local-source.ts";

/** How much there is to save, counted beside the backup, so that a progress line can tell how long it will take. */
export interface Scan {
  /** Undefined until everything is counted. */
  total(): ScanTotal | undefined;
  /** May be called again. */
  stop(): Promise<void>;
}

export interface ScanTotal {
  readonly files: number;
  readonly bytes: number;
}

/** What of a local source is to be counted; all but who is told of problems, which the backup itself finds too. */
export type ScanOptions = Omit<LocalSourceOptions, "onProblem">;

/** Counts on a thread of its own. Where that fails, there is simply no total. */
export function startScan(options: ScanOptions): Scan {
  let total: ScanTotal | undefined;
  const worker = startWorker(new URL("./scan-worker.ts", import.meta.url), options);
  worker.unref();
  worker.on("message", (counted: ScanTotal) => (total = counted));
  worker.on("error", () => undefined);
  return {
    total: () => total,
    async stop() {
      await endWorker(worker);
    },
  };
}
