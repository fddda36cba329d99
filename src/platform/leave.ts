import { flushCompileCache } from "node:module";
import { endNow } from "./libc.ts";

/**
 * Once this process ends, in whatever way, it is gone: Node would take itself apart first, and at times never come to the
 * end of that (nodejs/node#54918: it waits for a thread that compiles, which waits for a collection of garbage). What
 * listens for the end after this call is not called.
 */
export function leaveAtEnd(): void {
  process.on("exit", (exitCode) => {
    // What Node writes only while it takes itself apart.
    if ([...process.execArgv, process.env.NODE_OPTIONS ?? ""].some((option) => option.includes("-prof"))) return;
    if (process.env.NODE_V8_COVERAGE !== undefined) return;
    flushCompileCache();
    endNow(exitCode);
  });
}
