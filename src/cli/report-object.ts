import type { Output } from "./output/output.ts";

/** Tells of damage to an object of the repository, while the run goes on. */
export function reportObject(output: Output, object: string, message: string): void {
  output.warning(`error: ${object}: ${message}`, {
    message_type: "error",
    message: `${object}: ${message}`,
    item: object,
  });
}
