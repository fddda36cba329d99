import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { run } from "../../test/support/run-command.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";

const here = (module: string): string => new URL(module, import.meta.url).href;

// What `process.exit` does not wait for is Node's own affair.
for (const [name, end, saysBytes] of [
  ["comes to its end", "process.exitCode = 7;", 300_000],
  ["is told to exit", "process.exit(7);", 300],
] as const) {
  test(`a process that ${name} is gone with its exit code and all that it said, whatever its threads do`, async (t) => {
    const file = path.join(temporaryFolder(t), "program.ts");
    const code = `
      import { Worker } from "node:worker_threads";
      import { leaveAtEnd } from "${here("./leave.ts")}";
      import { bindForeignFunctions } from "${here("./libc.ts")}";
      bindForeignFunctions();
      leaveAtEnd();
      process.on("exit", () => console.log("Node takes itself apart"));
      new Worker("for (;;);", { eval: true }).unref();
      process.stdout.write("x".repeat(${saysBytes}));
      ${end}`;
    writeFileSync(file, code);
    const { status, stdout, stderr } = await run(process.execPath, [file]);
    assert.deepEqual([status, stdout.length, stderr], [7, saysBytes, ""]);
  });
}
