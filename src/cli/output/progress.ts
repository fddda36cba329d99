/** Tells how far a long run has come: in place on a terminal, as JSON lines with `--json`, and else not at all. */
import { formatBytes } from "./format-bytes.ts";
import { formatDuration } from "./format-time.ts";
import type { Output } from "./output.ts";

export interface ProgressState {
  readonly filesDone: number;
  readonly bytesDone: number;
  /** What is expected in all, if that is known. */
  readonly totalFiles?: number | undefined;
  readonly totalBytes?: number | undefined;
  readonly errors?: number;
  /** For people: what is being worked on. */
  readonly current?: readonly string[];
}

export interface Progress {
  /** Whether anybody is told. */
  readonly isShown: boolean;
  /** Takes the lines away. May be called again. */
  stop(): void;
}

/**
 * Draws `state()` several times a second on a terminal, and prints it every second with `--json`, in the form of restic's
 * `status` messages; `jsonOf` adds or replaces fields of it. `HOLDFAST_PROGRESS_FPS` sets another rate for both.
 */
export function startProgress(
  output: Output,
  state: () => ProgressState,
  jsonOf: (state: ProgressState) => object = () => ({}),
): Progress {
  if (output.quiet || (!output.json && !output.isTerminal)) return { isShown: false, stop: () => undefined };
  const startMs = performance.now();
  const rate = Number(process.env.HOLDFAST_PROGRESS_FPS);
  const intervalMs = rate > 0 && rate <= 60 ? 1000 / rate : output.json ? 1000 : 200;
  const timer = setInterval(() => {
    const elapsedMs = performance.now() - startMs;
    const now = state();
    if (output.json) output.jsonLine({ ...statusMessage(now, elapsedMs), ...jsonOf(now) });
    else output.live.show(progressLines(now, elapsedMs));
  }, intervalMs);
  timer.unref();
  return {
    isShown: true,
    stop() {
      clearInterval(timer);
      output.live.show([]);
    },
  };
}

/** `[0:05] 12.3%  1,234 files, 1.234 GiB, 230.100 MiB/s, 0:36 left`, and below it what is being worked on. */
export function progressLines(state: ProgressState, elapsedMs: number): string[] {
  const { filesDone, bytesDone, totalBytes, errors = 0, current = [] } = state;
  const done = doneShare(state);
  const parts = [
    `${filesDone.toLocaleString("en")} files`,
    totalBytes === undefined ? formatBytes(bytesDone) : `${formatBytes(bytesDone)} of ${formatBytes(totalBytes)}`,
    `${formatBytes(bytesDone / Math.max(elapsedMs / 1000, 0.001))}/s`,
  ];
  if (errors > 0) parts.push(`${errors} ${errors === 1 ? "error" : "errors"}`);
  const leftMs = remainingMs(state, elapsedMs);
  if (leftMs !== undefined) parts.push(`${formatDuration(leftMs)} left`);
  const percent = done === undefined ? "" : ` ${(done * 100).toFixed(1)}%`;
  return [`[${formatDuration(elapsedMs)}]${percent}  ${parts.join(", ")}`, ...current.map((item) => `  ${item}`)];
}

function statusMessage(state: ProgressState, elapsedMs: number): object {
  const leftMs = remainingMs(state, elapsedMs);
  return {
    message_type: "status",
    seconds_elapsed: Math.floor(elapsedMs / 1000),
    ...(leftMs !== undefined && { seconds_remaining: Math.round(leftMs / 1000) }),
    percent_done: doneShare(state) ?? 0,
    total_files: state.totalFiles,
    files_done: state.filesDone,
    total_bytes: state.totalBytes,
    bytes_done: state.bytesDone,
    error_count: state.errors,
    current_files: state.current,
  };
}

/** 0 to 1, or undefined where the total is unknown. An estimate that is overtaken ends just below 1. */
function doneShare({ bytesDone, totalBytes }: ProgressState): number | undefined {
  if (totalBytes === undefined || totalBytes === 0) return undefined;
  return bytesDone > totalBytes ? 0.999 : bytesDone / totalBytes;
}

function remainingMs(state: ProgressState, elapsedMs: number): number | undefined {
  const done = doneShare(state);
  // The first moments say nothing about the rest.
  if (done === undefined || done < 0.001 || elapsedMs < 2000) return undefined;
  return (elapsedMs / done) * (1 - done);
}
