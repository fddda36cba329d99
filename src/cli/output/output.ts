/**
 * Where a command prints: results to standard output, everything else to standard error.
 *
 * Results are gathered and written in large pieces. When nobody reads them any more (`holdfast ls … | head`), the rest is
 * dropped, and `closed` is called once.
 */
import { styleText } from "node:util";
import { errnoOf, messageOf, StorageError } from "../../errors.ts";
import type { LiveLines } from "./live-lines.ts";
import { printable } from "./printable.ts";

export interface OutputOptions {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbosity: number;
  readonly color: boolean;
  /** Called when standard output is closed at the other end. */
  readonly closed: () => void;
}

export interface Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbosity: number;
  readonly isTerminal: boolean;
  /** Characters across; undefined where it is no terminal. */
  readonly columns: number | undefined;
  /** A line of the result. */
  line(text: string): void;
  /** One JSON value on a line, of the result. */
  jsonLine(value: unknown): void;
  /** Raw bytes of the result. Resolves when there is room for more. Throws `StorageError` where they cannot be written. */
  bytes(chunk: Uint8Array): Promise<void>;
  /** For a person who watches: on standard output, but not with `--quiet` or `--json`. */
  note(text: string): void;
  /** On standard error, always; as JSON with `--json`. */
  warning(text: string, json?: object): void;
  /** Lines at the bottom of the terminal that change; undefined takes them away. */
  readonly live: LiveLines;
  bold(text: string): string;
  /** Waits until everything is with the reader, or it is known that nobody reads. Throws as `bytes`. */
  flush(): Promise<void>;
}

const FLUSH_AT_CHARACTERS = 32 * 1024;

export function createOutput(options: OutputOptions, live: LiveLines): Output {
  const { stdout, stderr, json, quiet, verbosity } = options;
  let gathered = "";
  let isClosed = false;
  let failure: StorageError | undefined;
  let flushScheduled = false;

  stdout.on("error", (error) => {
    if (isClosed) return;
    isClosed = true;
    if (errnoOf(error) === "EPIPE") options.closed();
    else failure = new StorageError(`could not write to standard output: ${messageOf(error)}`, { cause: error });
  });
  // Without standard error there is nobody left to tell.
  stderr.on("error", () => undefined);

  function write(chunk: string | Uint8Array): Promise<void> {
    if (isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      live.around(() => stdout.write(chunk, () => resolve()));
    });
  }

  function flushGathered(): Promise<void> {
    flushScheduled = false;
    const text = json ? gathered : printable(gathered);
    gathered = "";
    return text === "" ? Promise.resolve() : write(text);
  }

  function line(text: string): void {
    gathered += `${text}\n`;
    if (gathered.length >= FLUSH_AT_CHARACTERS) void flushGathered();
    else if (!flushScheduled) {
      flushScheduled = true;
      setImmediate(() => void flushGathered());
    }
  }

  return {
    json,
    quiet,
    verbosity,
    isTerminal: stdout.isTTY,
    columns: stdout.isTTY ? stdout.columns : undefined,
    line,
    jsonLine: (value) => line(JSON.stringify(value)),
    async bytes(chunk) {
      await flushGathered();
      await write(chunk);
      if (failure !== undefined) throw failure;
    },
    note(text) {
      if (!quiet && !json) line(text);
    },
    warning(text, object) {
      void flushGathered();
      live.around(() => stderr.write(`${json && object !== undefined ? JSON.stringify(object) : printable(text)}\n`));
    },
    live,
    bold: (text) => (options.color && stdout.isTTY ? styleText("bold", text, { stream: stdout }) : text),
    async flush() {
      await flushGathered();
      if (failure !== undefined) throw failure;
    },
  };
}
