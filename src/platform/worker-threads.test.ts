import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { endWorker, startWorker, workersLoaded } from "./worker-threads.ts";

function moduleOf(t: TestContext, code: string): URL {
  const file = path.join(temporaryFolder(t), "thread.ts");
  writeFileSync(
    file,
    `import { beginWorker } from "${new URL("./worker-threads.ts", import.meta.url).href}";\n${code}`,
  );
  return pathToFileURL(file);
}

test("a thread can be ended at any moment, also while it loads native code", async (t) => {
  const code = `
    import { createRequire } from "node:module";
    import { workerData } from "node:worker_threads";
    Atomics.store(workerData.data, 0, 1);
    Atomics.notify(workerData.data, 0);
    createRequire("${import.meta.url}")("koffi");
    beginWorker();
    setInterval(() => undefined, 1000);`;
  const module = moduleOf(t, code);
  // Loading takes some 10 ms, of which few are dangerous: without care, one of about twenty goes wrong.
  for (let round = 0; round < 60; round++) {
    const begins = new Int32Array(new SharedArrayBuffer(4));
    const worker = startWorker(module, begins);
    worker.unref();
    await Atomics.waitAsync(begins, 0, 0).value;
    const endMs = performance.now() + round / 5;
    while (performance.now() < endMs);
    await endWorker(worker);
    assert.equal(worker.threadId, -1, "it is over");
  }
});

test("a thread gets what it was started with", async (t) => {
  const module = moduleOf(
    t,
    `import { parentPort } from "node:worker_threads";\nparentPort.postMessage(beginWorker());\n`,
  );
  const worker = startWorker(module, { answer: 42 });
  assert.deepEqual(await once(worker, "message"), [{ answer: 42 }]);
});

test("nobody waits for threads that end before they have loaded", async (t) => {
  const exiting = startWorker(moduleOf(t, `process.exit(3);\n`), undefined);
  const failing = startWorker(moduleOf(t, `throw new Error("no");\n`), undefined);
  const error = once(failing, "error");
  await workersLoaded();
  assert.match(String(await error), /no/);
  await Promise.all([endWorker(exiting), endWorker(failing)]);
});
