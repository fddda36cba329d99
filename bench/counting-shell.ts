/**
 * Stands between rsync or Holdfast and its remote shell and counts what travels: `counting-shell.ts REPORT ssh …`. At the
 * end it writes into the file REPORT how many bytes went out and how many came in.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";

const [report, program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
const counted = { sentBytes: 0, receivedBytes: 0 };

async function pass(from: Readable, to: Writable, field: keyof typeof counted): Promise<void> {
  from.on("data", (chunk: Buffer) => (counted[field] += chunk.length));
  // Whoever hangs up first is no fault of this one.
  await pipeline(from, to).catch(() => {});
}

void pass(process.stdin, child.stdin, "sentBytes");
const received = pass(child.stdout, process.stdout, "receivedBytes");
child.on("exit", (code) => {
  void received.then(() => {
    writeFileSync(report, JSON.stringify(counted));
    process.exit(code ?? 1);
  });
});
