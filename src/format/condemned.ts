/** Packs that pruning will delete (docs/format.md, "Condemned"). */
import { parseJsonObject } from "./json.ts";
import { RUN_ID } from "./names.ts";

export interface Condemned {
  /** Hashes in hex. */
  readonly packs: readonly string[];
  /** ISO 8601, UTC: when they were condemned. */
  readonly time: string;
  /**
   * Who was writing then, by the ids of their runs: these may count on the packs, and nobody who began later. Undefined
   * until it is known.
   */
  readonly runs?: readonly string[] | undefined;
}

export function encodeCondemned({ packs, time, runs }: Condemned): Buffer {
  return Buffer.from(JSON.stringify(runs === undefined ? { packs, time } : { packs, time, runs }), "utf8");
}

/** Throws `DamagedError`. */
export function decodeCondemned(bytes: Uint8Array, what = "list of condemned packs"): Condemned {
  const fields = parseJsonObject(bytes, what, 256 * 1024 * 1024);
  const packs = fields.texts("packs");
  if (!packs.every((name) => /^[0-9a-f]{64}$/.test(name))) throw fields.fail("packs", "holds what is no pack's name");
  const time = fields.time("time");
  if (fields.all.runs === undefined) return { packs, time };
  const runs = fields.texts("runs");
  if (!runs.every((id) => RUN_ID.test(id))) throw fields.fail("runs", "holds what is no run's id");
  return { packs, time, runs };
}
