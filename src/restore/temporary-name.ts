import { createHash } from "node:crypto";
import type { RawPath } from "../platform/raw-path.ts";

/**
 * The name under which a file is written that must appear whole or not at all. Always the same for one file, so that
 * what a killed run left is used up by the next.
 */
export function temporaryName(name: RawPath): RawPath {
  return `.holdfast-restore-${createHash("sha256").update(name, "latin1").digest("hex").slice(0, 16)}` as RawPath;
}
