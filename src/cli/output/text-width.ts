import { createRequire } from "node:module";

let measure: ((text: string) => number) | undefined;

/** How many columns a text takes on a terminal. The library that knows is loaded for other text than plain ASCII only. */
export function textWidth(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  measure ??= (createRequire(import.meta.url)("string-width") as typeof import("string-width")).default;
  return measure(text);
}
