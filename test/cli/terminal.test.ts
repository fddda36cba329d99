/** What a person sees and types at a terminal: `script` (util-linux) gives the command one. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { atEnd, type Cleanup } from "../support/at-end.ts";
import { checkoutFolder } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { PASSWORD, workplace, type Workplace } from "./workplace.ts";

const needsScript = { skip: skipUnless({ commands: ["script"] }) };

interface Terminal {
  /** Waits until this is on the screen, and types. */
  answer(prompt: string, typed: string): Promise<void>;
  /** Waits until the command ends; gives its exit code. */
  end(): Promise<number>;
  /** All that was written to the terminal. */
  text(): string;
}

function onTerminal(t: Cleanup, at: Workplace, args: readonly string[], env: Record<string, string> = {}): Terminal {
  const quoted = [path.join(checkoutFolder, "bin/holdfast"), ...args].map((word) => `'${word}'`).join(" ");
  const environment = { ...process.env, ...at.env, HOLDFAST_PASSWORD: undefined, TERM: "xterm", ...env };
  const child: ChildProcess = spawn("script", ["-qefc", `stty cols 80; exec ${quoted}`, "/dev/null"], {
    env: environment,
  });
  atEnd(t, () => void child.kill("SIGKILL"));
  let text = "";
  child.stdout!.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
  return {
    async answer(prompt, typed) {
      while (!text.includes(prompt)) await once(child.stdout!, "data");
      text = text.replace(prompt, prompt.toUpperCase());
      child.stdin!.write(typed);
    },
    async end() {
      const [code] = (await once(child, "close")) as [number];
      return code;
    },
    text: () => text,
  };
}

test("asks for a new password twice, and shows nothing of what is typed", needsScript, async (t) => {
  const at = workplace(t);
  const init = onTerminal(t, at, ["init"]);
  await init.answer("enter password for new repository: ", `wrong\x15${PASSWORD}x\x7f\r`);
  await init.answer("enter it again: ", `${PASSWORD}\r`);
  assert.equal(await init.end(), 0, init.text());
  assert.ok(!init.text().includes(PASSWORD));
  assert.match(init.text(), /created repository/);
  await at.ok(["snapshots"]);
});

test("refuses two different new passwords, and makes no repository", needsScript, async (t) => {
  const at = workplace(t);
  const init = onTerminal(t, at, ["init"]);
  await init.answer("enter password for new repository: ", "one\r");
  await init.answer("enter it again: ", "two\r");
  assert.equal(await init.end(), 1);
  assert.match(init.text(), /the two passwords are not the same/);
  assert.equal((await at.run(["snapshots"])).status, 10);
});

test("asks for the password once to open, and Ctrl-C at the question ends with 130", needsScript, async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const prompt = `enter password for repository ${at.repository}: `;
  const open = onTerminal(t, at, ["snapshots"]);
  await open.answer(prompt, `${PASSWORD}\r`);
  assert.equal(await open.end(), 0);
  assert.match(open.text(), /0 snapshots/);
  const stopped = onTerminal(t, at, ["snapshots"]);
  await stopped.answer(prompt, "half a pass\x03");
  assert.equal(await stopped.end(), 130);
});

test("shows how far a backup is in one place, and nothing of that stays", needsScript, async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  writeFileSync(path.join(at.source, "random"), randomBytes(64 * 1024 ** 2));
  const env = { HOLDFAST_PASSWORD: PASSWORD, HOLDFAST_PROGRESS_FPS: "60" };
  const backup = onTerminal(t, at, ["backup", at.source], env);
  assert.equal(await backup.end(), 0, backup.text());
  assert.match(backup.text(), /\[0:\d\d\] +[\d.]+% +[\d,]+ files, [\d.]+ \w+ of 66\.861 MiB, [\d.]+ \w+\/s/);
  // The last thing that was drawn in place is taken away before the summary.
  const afterDrawing = backup.text().slice(backup.text().lastIndexOf("\x1b["));
  assert.match(afterDrawing, /^\x1b\[J[^\x1b]*Files:[^\x1b]*snapshot [0-9a-f]{8} saved/);
});

test("shows no progress while it waits for the password", needsScript, async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const backup = onTerminal(t, at, ["backup", at.source], { HOLDFAST_PROGRESS_FPS: "60" });
  await backup.answer("enter password for repository", "");
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.doesNotMatch(backup.text(), /files/);
  await backup.answer(": ", `${PASSWORD}\r`);
  assert.equal(await backup.end(), 0);
});

test("with --quiet, or where it is no terminal, no progress is shown", needsScript, async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const env = { HOLDFAST_PASSWORD: PASSWORD, HOLDFAST_PROGRESS_FPS: "60" };
  const backup = onTerminal(t, at, ["backup", "--quiet", at.source], env);
  assert.equal(await backup.end(), 0);
  assert.equal(backup.text(), "");
  const piped = await at.run(["backup", at.source], { env: { HOLDFAST_PROGRESS_FPS: "60" } });
  assert.doesNotMatch(piped.stdout + piped.stderr, /\x1b|iB\/s/);
});

test("with --json, progress comes as lines of JSON", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  writeFileSync(path.join(at.source, "random"), randomBytes(64 * 1024 ** 2));
  const { stdout } = await at.run(["backup", "--json", at.source], { env: { HOLDFAST_PROGRESS_FPS: "60" } });
  const messages = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { message_type: string; bytes_done: number });
  const status = messages.filter(({ message_type: type }) => type === "status");
  assert.ok(status.length > 0);
  assert.ok(status.every(({ bytes_done: bytes }, index) => index === 0 || bytes >= status[index - 1].bytes_done));
  assert.equal(messages.at(-1)?.message_type, "summary");
});

test("an archive is not poured over a terminal", needsScript, async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source]);
  const dump = onTerminal(t, at, ["dump", "latest", "/"], { HOLDFAST_PASSWORD: PASSWORD });
  assert.equal(await dump.end(), 1);
  assert.match(dump.text(), /cannot be shown on a terminal/);
});
