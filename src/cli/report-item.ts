import { messageOf } from "../errors.ts";
import { displayPath, type RawPath } from "../platform/raw-path.ts";
import type { Output } from "./output/output.ts";

/** Tells of a file that something went wrong with, while the run goes on; in the form of restic's `error` messages. */
export function reportItem(output: Output, during: string, path: RawPath, error: unknown): void {
  const item = `/${displayPath(path)}`;
  const message = messageOf(error);
  output.warning(`error: ${message.includes(item) ? message : `${item}: ${message}`}`, {
    message_type: "error",
    error: { message },
    during,
    item,
  });
}
