import { readFileSync } from "node:fs";
import { rawPathFromBytes, rawPathFromText, type RawPath } from "../platform/raw-path.ts";

/**
 * A path as it was typed, byte for byte. Node has made text of the arguments, and put U+FFFD for what is not UTF-8; the
 * kernel still has them as they were.
 */
export function rawArgument(text: string): RawPath {
  return rawArguments([text])[0];
}

/** The same for several, of which two may look alike as text. */
export function rawArguments(texts: readonly string[]): RawPath[] {
  const originals = texts.some((text) => text.includes("\ufffd")) ? kernelArguments() : [];
  return texts.map((text) => {
    const at = text.includes("\ufffd") ? originals.findIndex((bytes) => bytes.toString("utf8") === text) : -1;
    return at === -1 ? rawPathFromText(text) : rawPathFromBytes(originals.splice(at, 1)[0]);
  });
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
