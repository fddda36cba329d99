import { readFileSync } from "node:fs";

/**
 * The value of a variable that this process was started with, one character a byte: `process.env` holds text, and what is
 * not UTF-8 is lost in it. Undefined where there is none of that name.
 */
export function rawEnvironment(name: string): string | undefined {
  const start = `${name}=`;
  const all = readFileSync("/proc/self/environ", "latin1").split("\0");
  return all.find((each) => each.startsWith(start))?.slice(start.length);
}
