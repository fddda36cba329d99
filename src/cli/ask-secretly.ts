import { closeSync, openSync } from "node:fs";
import { ReadStream, WriteStream } from "node:tty";
import { InterruptedError } from "../errors.ts";

/**
 * Asks at the terminal of this process, wherever standard input and output lead, and shows nothing of what is typed.
 * Undefined where there is no terminal. Throws `InterruptedError` at Ctrl-C.
 */
export async function askSecretly(question: string, signal: AbortSignal): Promise<string | undefined> {
  const terminal = openTerminal();
  if (terminal === undefined) return undefined;
  const { input, output } = terminal;
  // Before anybody is asked: who answers at once must not see it either.
  input.setRawMode(true);
  try {
    output.write(question);
    return await readLine(input, signal);
  } finally {
    input.setRawMode(false);
    output.write("\n");
    input.destroy();
    output.destroy();
  }
}

function openTerminal(): { input: ReadStream; output: WriteStream } | undefined {
  let descriptor: number;
  try {
    descriptor = openSync("/dev/tty", "r+");
  } catch {
    return undefined;
  }
  try {
    return { input: new ReadStream(descriptor), output: new WriteStream(openSync("/dev/tty", "w")) };
  } catch {
    closeSync(descriptor);
    return undefined;
  }
}

const [CTRL_C, CTRL_D, BACKSPACE, CTRL_U, DELETE] = ["\x03", "\x04", "\b", "\x15", "\x7f"];

function readLine(input: ReadStream, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let typed: string[] = [];
    signal.addEventListener("abort", () => reject(new InterruptedError("interrupted")), { once: true });
    input.setEncoding("utf8");
    input.on("error", reject);
    input.on("end", () => resolve(typed.join("")));
    input.on("data", (text: string) => {
      for (const character of text) {
        if (character === CTRL_C) return reject(new InterruptedError("interrupted"));
        if (character === "\r" || character === "\n" || character === CTRL_D) return resolve(typed.join(""));
        if (character === BACKSPACE || character === DELETE) typed.pop();
        else if (character === CTRL_U) typed = [];
        else typed.push(character);
      }
    });
  });
}
