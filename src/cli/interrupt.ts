import { InterruptedError } from "../errors.ts";

export interface InterruptOptions {
  /** Told at the first signal. */
  readonly onFirst: (signal: NodeJS.Signals) => void;
  /** Ends the program at once, at the second. */
  readonly exit: (code: number) => void;
}

const SIGNALS: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
const INTERRUPTED = 130;

/**
 * Ctrl-C, SIGTERM or a closed terminal once: the returned signal is aborted with an `InterruptedError`, and the command
 * comes to a clean end by itself. A second time: out.
 */
export function listenForInterrupts({ onFirst, exit }: InterruptOptions): AbortSignal {
  const controller = new AbortController();
  for (const name of SIGNALS) {
    process.on(name, () => {
      if (controller.signal.aborted) return exit(INTERRUPTED);
      controller.abort(new InterruptedError("interrupted"));
      onFirst(name);
    });
  }
  return controller.signal;
}
