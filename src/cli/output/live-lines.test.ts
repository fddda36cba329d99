import assert from "node:assert/strict";
import { test } from "node:test";
import { createLiveLines, truncate } from "./live-lines.ts";

function fakeTerminal(columns: number) {
  const written: string[] = [];
  const terminal = { isTTY: true, columns, write: (text: string) => (written.push(text), true) };
  return { terminal: terminal as unknown as NodeJS.WriteStream, text: () => written.join("") };
}

/** What is on the screen after these bytes: enough of a terminal for what is used here. */
function screen(text: string): string[] {
  const rows = [""];
  let row = 0;
  for (const part of text.split(/(\x1b\[\d*[AJ]|\r|\n)/)) {
    const up = /^\x1b\[(\d*)A$/.exec(part);
    if (up !== null) row -= Number(up[1]);
    else if (part === "\x1b[J") rows.splice(row, rows.length, "");
    else if (part === "\n") rows[++row] ??= "";
    else if (part !== "\r") rows[row] += part;
  }
  return rows;
}

test("replaces its lines in place, and lets ordinary lines scroll by above them", () => {
  const { terminal, text } = fakeTerminal(80);
  const live = createLiveLines(terminal, true);
  live.show(["10%", "/a"]);
  live.show(["20%", "/b"]);
  live.around(() => terminal.write("a note\n"));
  assert.deepEqual(screen(text()), ["a note", "20%", "/b"]);
  live.show(["30%"]);
  assert.deepEqual(screen(text()), ["a note", "30%"]);
  live.show([]);
  assert.deepEqual(screen(text()), ["a note", ""]);
});

test("never takes more than the width of the terminal, or a line would break in two", () => {
  const { terminal, text } = fakeTerminal(10);
  createLiveLines(terminal, true).show(["0123456789abc"]);
  assert.equal(text(), "01234567…");
  assert.equal(truncate("日本語テキスト", 7), "日本語…");
  assert.equal(truncate("short", 7), "short");
});

test("shows nothing where there is no terminal", () => {
  const { terminal, text } = fakeTerminal(80);
  createLiveLines(terminal, false).show(["10%"]);
  createLiveLines({ ...terminal, isTTY: false } as NodeJS.WriteStream, true).show(["10%"]);
  assert.equal(text(), "");
});

test("takes a terminal that does not know its width for one of the usual width", () => {
  const { terminal, text } = fakeTerminal(0);
  createLiveLines(terminal, true).show(["x".repeat(100)]);
  assert.deepEqual(screen(text()), [`${"x".repeat(78)}…`]);
});
