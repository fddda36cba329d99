/**
 * Worker threads that can be ended at any moment. To terminate a thread while it loads code that is not JavaScript aborts
 * the whole process (Node-API can then not throw), so that whoever ends one waits until it has loaded.
 */
import { once } from "node:events";
import { Worker, workerData, type WorkerOptions } from "node:worker_threads";
import { bindForeignFunctions } from "./libc.ts";

interface Handed {
  readonly data: unknown;
  /** Holds 1 once the thread has loaded its code. */
  readonly loaded: Int32Array<SharedArrayBuffer>;
}

const loading = new Map<Worker, Promise<unknown>>();

/** Starts a thread. Its module must call `beginWorker` when it has loaded. */
export function startWorker(module: URL, data: unknown, options: Omit<WorkerOptions, "workerData"> = {}): Worker {
  const loaded = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(module, { ...options, workerData: { data, loaded } satisfies Handed });
  const told = Atomics.waitAsync(loaded, 0, 0).value;
  // One that fails to load ends by itself.
  const ended = once(worker, "exit").catch(() => undefined);
  loading.set(
    worker,
    Promise.race([told, ended]).then(() => loading.delete(worker)),
  );
  return worker;
}

/** For a thread's module, at its beginning: what the thread was started with. Binds the native code that it may call. */
export function beginWorker(): unknown {
  const { data, loaded } = workerData as Handed;
  bindForeignFunctions();
  Atomics.store(loaded, 0, 1);
  Atomics.notify(loaded, 0);
  return data;
}

/** Ends a thread of `startWorker`, whatever it is at. */
export async function endWorker(worker: Worker): Promise<void> {
  // While it is waited for, it keeps the process alive.
  worker.ref();
  await loading.get(worker);
  await worker.terminate();
}

/** Resolves when no thread is loading its code, so that the process may exit. */
export async function workersLoaded(): Promise<void> {
  while (loading.size > 0) {
    for (const worker of loading.keys()) worker.ref();
    await Promise.all(loading.values());
  }
}
