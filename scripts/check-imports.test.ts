import assert from "node:assert/strict";
import { test } from "node:test";
import { findViolations } from "./check-imports.ts";

const CASES: readonly { name: string; path: string; text: string; violations: number }[] = [
  {
    name: "an import downwards is allowed",
    path: "src/backup/backup.ts",
    text: 'import { openRepository } from "../repository/repository.ts";',
    violations: 0,
  },
  {
    name: "an import upwards is a violation",
    path: "src/storage/local.ts",
    text: 'import { openRepository } from "../repository/repository.ts";',
    violations: 1,
  },
  {
    name: "an import of only a type counts as well, over several lines",
    path: "src/storage/local.ts",
    text: "import type {\n  Pack,\n} from '../format/pack.ts';",
    violations: 1,
  },
  {
    name: "server and agent do not import each other",
    path: "src/server/server.ts",
    text: 'export { run } from "../agent/run.ts";',
    violations: 1,
  },
  {
    name: "a module loaded while running counts",
    path: "src/crypto/keys.ts",
    text: 'const cli = await import("../cli/main.ts");',
    violations: 1,
  },
  {
    name: "a worker's file counts",
    path: "src/source/walk.ts",
    text: 'new Worker(new URL("../backup/worker.ts", import.meta.url));',
    violations: 1,
  },
  {
    name: "everybody may import the errors",
    path: "src/wire/message.ts",
    text: 'import { DamagedError } from "../errors.ts";',
    violations: 0,
  },
  {
    name: "messages do not touch files",
    path: "src/wire/message.ts",
    text: 'import { readFileSync } from "node:fs";',
    violations: 1,
  },
  {
    name: "the program does not import the tests' tools",
    path: "src/restore/write.ts",
    text: 'import { run } from "../../test/support/run-command.ts";',
    violations: 1,
  },
  {
    name: "a test may import what it likes",
    path: "src/storage/local.test.ts",
    text: 'import { openRepository } from "../repository/repository.ts";',
    violations: 0,
  },
  {
    name: "a folder that the list does not know is a violation",
    path: "src/helpers/text.ts",
    text: 'import { open } from "../storage/open.ts";',
    violations: 1,
  },
];

for (const { name, path, text, violations } of CASES) {
  test(name, () => {
    const found = findViolations([{ path, text }]);
    assert.equal(found.length, violations, found.join("\n"));
    for (const line of found) assert.ok(line.startsWith(path), line);
  });
}
