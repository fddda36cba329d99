/** `npm start`, in a copy of the checkout, as somebody new would call it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { atEnd, type Cleanup } from "../support/at-end.ts";
import { checkoutFolder } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { run } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

/** Deeper than the kernel takes for the path of a socket. */
const DEEP = Array.from({ length: 8 }, () => "a-folder-in-a-folder");

function copyOfCheckout(t: Cleanup): string {
  const folder = path.join(temporaryFolder(t), ...DEEP);
  mkdirSync(folder, { recursive: true });
  for (const name of ["bin", "src", "scripts", "package.json", ".gitignore"]) {
    cpSync(path.join(checkoutFolder, name), path.join(folder, name), { recursive: true });
  }
  symlinkSync(path.join(checkoutFolder, "node_modules"), path.join(folder, "node_modules"));
  return folder;
}

test("npm start saves this machine to a server of its own, proves it, and can be called again", async (t) => {
  const checkout = copyOfCheckout(t);
  const start = (...paths: string[]) =>
    run(path.join(checkout, "scripts/start"), paths, { timeoutMs: 120_000, input: "" });
  const first = await start();
  assert.equal(first.status, 0, first.stdout + first.stderr);
  assert.match(first.stdout, /Restored and compared: every file is the same/);
  assert.match(first.stdout, /1 hosts?, all well/);
  const mine = temporaryFolder(t);
  writeFileSync(path.join(mine, "a file"), "of my own");
  const second = await start(mine);
  assert.equal(second.status, 0, second.stdout + second.stderr);
  assert.match(second.stdout, /snapshot [0-9a-f]{8} saved: 1 files?/);
  assert.match(second.stdout, /2 snapshots/);
  // Nothing goes on behind one's back.
  const status = await run(path.join(checkout, "bin/holdfast"), ["status", "--data", path.join(checkout, "data")]);
  assert.notEqual(status.status, 0);
  assert.match(status.stderr, /no server/);
  const nothing = await start("/nonexistent");
  assert.equal(nothing.status, 1);
  assert.match(nothing.stderr, /there is no \/nonexistent to save/);
});

test(
  "npm start on a terminal lets the server go on until Ctrl-C",
  { skip: skipUnless({ commands: ["script"] }) },
  async (t) => {
    const checkout = copyOfCheckout(t);
    const mine = temporaryFolder(t);
    writeFileSync(path.join(mine, "a file"), "of my own");
    const terminal = spawn("script", ["-qec", `scripts/start ${mine}`, "/dev/null"], { cwd: checkout });
    atEnd(t, () => void terminal.kill("SIGKILL"));
    let said = "";
    const ended = once(terminal, "exit");
    for await (const chunk of terminal.stdout) {
      said += String(chunk);
      if (said.includes("The server goes on until Ctrl-C.")) break;
    }
    const status = () => run(path.join(checkout, "bin/holdfast"), ["status", "--data", path.join(checkout, "data")]);
    assert.equal((await status()).status, 0, said);
    terminal.stdin.write("\x03");
    await ended;
    assert.match((await status()).stderr, /no server/);
  },
);
