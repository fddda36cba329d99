import { readFileSync } from "node:fs";
import { rawPathFromBytes, rawPathFromText, type RawPath } from "../platform/raw-path.ts";

/**
 * A path as it was typed, byte for byte. Node has made text of the arguments, and put U+FFFD for what is not UTF-8; the
 * kernel still has them as they were.
 */
export function rawArgument(text: string): RawPath {
  if (!text.includes("\ufffd")) return rawPathFromText(text);
  const original = kernelArguments().find((bytes) => bytes.toString("utf8") === text);
  return original === undefined ? rawPathFromText(text) : rawPathFromBytes(original);
}

function kernelArguments(): Buffer[] {
  const bytes = readFileSync("/proc/self/cmdline");
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0, at);
    found.push(bytes.subarray(at, end));
    at = end + 1;
  }
  return found;
}
