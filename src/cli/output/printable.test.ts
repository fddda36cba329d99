import assert from "node:assert/strict";
import { test } from "node:test";
import { printable, printableLine } from "./printable.ts";

test("escapes what could drive a terminal, and leaves text, bold and line breaks as they are", () => {
  const cases: [text: string, shown: string][] = [
    ["plain, é, 日本\n\ttext", "plain, é, 日本\n\ttext"],
    ["\u001b[1mbold\u001b[22m", "\u001b[1mbold\u001b[22m"],
    ["\u001b[31mred", "\\x1b[31mred"],
    ["\u001b]0;title\u0007", "\\x1b]0;title\\x07"],
    ["over\rwritten\b\u009b2J", "over\\x0dwritten\\x08\\x9b2J"],
    ["\u202etxt.exe", "\\u202etxt.exe"],
  ];
  for (const [text, shown] of cases) assert.equal(printable(text), shown);
});

test("keeps a line in one line", () => {
  assert.equal(printableLine("a\nb\tc\u001b[2J"), "a\\nb\\tc\\x1b[2J");
});
