/** A note that somebody is writing (docs/format.md, "Running"). */
import { parseJsonObject } from "./json.ts";

export interface Running {
  /** The machine. */
  readonly host: string;
  /** Process id there. */
  readonly process: number;
  /** ISO 8601, UTC. */
  readonly started: string;
  /** `backup`, `prune`, … */
  readonly what: string;
}

export function encodeRunning(running: Running): Buffer {
  const { host, process, started, what } = running;
  return Buffer.from(`${JSON.stringify({ host, process, started, what })}\n`, "utf8");
}

/** Throws `DamagedError`. */
export function decodeRunning(bytes: Uint8Array, what = "note of a run"): Running {
  const fields = parseJsonObject(bytes, what, 64 * 1024);
  return {
    host: fields.text("host"),
    process: fields.count("process"),
    started: fields.time("started"),
    what: fields.text("what"),
  };
}
