/** The command `holdfast`. */
import { errnoOf, InterruptedError, messageOf } from "../errors.ts";
import { leaveAtEnd } from "../platform/leave.ts";
import { workersLoaded } from "../platform/worker-threads.ts";
import { commandTable, commandGroups } from "./commands/table.ts";
import { closeAll } from "./at-end.ts";
import { createLiveLines } from "./output/live-lines.ts";
import { createOutput, type Output } from "./output/output.ts";
import { listenForInterrupts } from "./interrupt.ts";
import { programVersion } from "./program-version.ts";
import type { ParsedCommand } from "./program.ts";
import { reportError } from "./report-error.ts";
import { understand } from "./understand.ts";

/** As of a program that dies because its reader went away. */
const READER_GONE = 141;

const debug = Boolean(process.env.HOLDFAST_DEBUG);
process.exitCode = await main(process.argv.slice(2));
leaveAtEnd();

async function main(argv: readonly string[]): Promise<number> {
  let parsed: ParsedCommand | number;
  try {
    parsed = await understand(argv, {
      commands: commandTable,
      groups: commandGroups,
      version: programVersion(),
      environment: process.env,
      print: printHelp,
    });
  } catch (error) {
    const report = reportError(error, debug);
    process.stderr.write(`${argv.includes("--json") ? JSON.stringify(report.json) : report.text}\n`);
    return report.exitCode;
  }
  return typeof parsed === "number" ? parsed : runCommand(parsed);
}

function printHelp(text: string): void {
  process.stdout.once("error", (error: unknown) => {
    if (errnoOf(error) === "EPIPE") process.exit(READER_GONE);
    process.stderr.write(`Fatal: could not write to standard output: ${messageOf(error)}\n`);
    process.exit(1);
  });
  process.stdout.write(text);
}

async function runCommand({ entry, settings, args, options }: ParsedCommand): Promise<number> {
  const output = createOutput(
    {
      stdout: process.stdout,
      stderr: process.stderr,
      json: settings.json,
      quiet: settings.quiet,
      verbosity: settings.verbose,
      color: settings.color,
      closed: () => {
        if (entry.spec.printsOnly === true) void exit(READER_GONE);
      },
    },
    createLiveLines(process.stdout, !settings.json && !settings.quiet && process.env.TERM !== "dumb"),
  );
  const signal = listenForInterrupts({
    onFirst: (name) => announceInterrupt(output, name),
    exit: (code) => void exit(code),
  });
  try {
    const module = await entry.load();
    const exitCode = await module.run({ context: { settings, output, signal }, args, options: options as never });
    await output.flush();
    return exitCode;
  } catch (error) {
    output.live.show([]);
    await output.flush().catch(() => undefined);
    // Whatever else failed on the way out, it was the user who ended it.
    const isOwnEnd = !signal.aborted || error instanceof InterruptedError;
    const report = reportError(isOwnEnd ? error : signal.reason, debug);
    output.warning(report.text, report.json);
    // Input that nobody closes, or a stuck connection, would keep an interrupted process alive.
    if (signal.aborted) await exit(report.exitCode);
    return report.exitCode;
  } finally {
    await closeAll();
  }
}

/** Exits now, whatever is under way. */
async function exit(code: number): Promise<never> {
  await workersLoaded();
  leaveAtEnd();
  process.exit(code);
}

function announceInterrupt(output: Output, signal: NodeJS.Signals): void {
  const again = signal === "SIGINT" ? "; press Ctrl-C again to stop at once" : "";
  if (!output.quiet) output.warning(`stopping${again}`, { message_type: "error", error: { message: "interrupted" } });
}
