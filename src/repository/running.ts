import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { PREFIXES } from "../format/names.ts";
import { encodeRunning } from "../format/running.ts";
import type { Storage } from "../storage/storage.ts";

/**
 * A note in storage that somebody is writing. It must be durable before the writer reads what is condemned: then either
 * pruning sees the note, or the writer sees the condemnation (docs/decisions, two-phase pruning).
 */
export interface RunningNote {
  readonly name: string;
  remove(): Promise<void>;
}

export async function noteRunning(storage: Storage, what: string): Promise<RunningNote> {
  const name = PREFIXES.running + randomBytes(16).toString("hex");
  const note = { host: hostname(), process: process.pid, started: new Date().toISOString(), what };
  await storage.put(name, [encodeRunning(note)]);
  return { name, remove: () => storage.delete(name) };
}
