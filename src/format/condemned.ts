/** Packs that pruning will delete (docs/format.md, "Condemned"). */
import { parseJsonObject } from "./json.ts";

export interface Condemned {
  /** Hashes in hex. */
  readonly packs: readonly string[];
  /** ISO 8601, UTC: when they were condemned. */
  readonly time: string;
}

export function encodeCondemned(condemned: Condemned): Buffer {
  return Buffer.from(JSON.stringify({ packs: condemned.packs, time: condemned.time }), "utf8");
}

/** Throws `DamagedError`. */
export function decodeCondemned(bytes: Uint8Array, what = "list of condemned packs"): Condemned {
  const fields = parseJsonObject(bytes, what, 256 * 1024 * 1024);
  const packs = fields.texts("packs");
  if (!packs.every((name) => /^[0-9a-f]{64}$/.test(name))) throw fields.fail("packs", "holds what is no pack's name");
  return { packs, time: fields.time("time") };
}
