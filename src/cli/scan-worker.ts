import { parentPort } from "node:worker_threads";
import { beginWorker } from "../platform/worker-threads.ts";
import { openLocalSource } from "../source/local/local-source.ts";
import type { ScanOptions, ScanTotal } from "./scan.ts";

const source = openLocalSource({ ...(beginWorker() as ScanOptions), onProblem: () => undefined });
let files = 0;
let bytes = 0;
for await (const batch of source.entries()) {
  for (const { stat } of batch) {
    if (stat.type !== "file") continue;
    files++;
    bytes += stat.sizeBytes;
  }
}
await source.close();
parentPort?.postMessage({ files, bytes } satisfies ScanTotal);
