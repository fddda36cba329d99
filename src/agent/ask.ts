/** Asks the server what it wants of this host, and when; and whether that is now. */
import { readFileSync } from "node:fs";
import { ConnectionError, ProtocolError } from "../errors.ts";
import { ASK_EVERY_MS } from "../fleet/next-run.ts";
import { nextPlaceMs, parseSchedule } from "../fleet/schedule.ts";
import { writeFileDurably } from "../fleet/write-file.ts";
import { malformed } from "../wire/bytes.ts";
import { openConnection } from "../wire/connection.ts";
import { decodeServerHello, encodeHello, type ServerHello, VERSION } from "../wire/hello.ts";
import { readLastRun } from "./last-run.ts";
import { agentFile, applyPolicy, readAgent, type Agent } from "./state.ts";

/** A timer is not exact. */
const SLACK_MS = 30_000;

export interface Due {
  readonly isDue: boolean;
  /** When it will be, on this host's clock. */
  readonly nextRunMs: number;
  /** Somebody asked the server for a run of this host. */
  readonly wanted: boolean;
  /** The server could not be asked; then this host decides by the policy that it remembers. */
  readonly problem: Error | undefined;
}

/**
 * Whether this host shall save now. Asks the server, but not more often than it wants to be asked, and takes over what
 * the server says of the policy. Throws `RefusedError` where the server does not let it in.
 */
export async function isRunDue(folder: string, program: string, signal?: AbortSignal): Promise<Due> {
  const agent = readAgent(folder);
  const nowMs = Date.now();
  const known = readAnswer(folder);
  if (known !== undefined && nowMs >= known.askedMs) {
    const nextAskMs = Math.min(known.askedMs + ASK_EVERY_MS, known.nextRunMs) - SLACK_MS;
    if (nowMs < nextAskMs) return { isDue: false, nextRunMs: known.nextRunMs, wanted: false, problem: undefined };
  }
  let hello: ServerHello;
  try {
    hello = await askServer(agent, program, signal);
  } catch (error) {
    const isSilent = error instanceof ConnectionError || error instanceof ProtocolError;
    if (!isSilent) throw error;
    return { ...dueByItself(agent, folder, nowMs), problem: error };
  }
  applyPolicy(folder, agent.settings, hello.policy);
  if (hello.nextRunMs === undefined) return { ...dueByItself(agent, folder, nowMs), problem: undefined };
  // Whatever this host's clock says: the server's counts.
  const waitMs = hello.nextRunMs - hello.nowMs;
  writeFileDurably(agentFile.asked(folder), `${JSON.stringify({ askedMs: nowMs, nextRunMs: nowMs + waitMs })}\n`);
  return { isDue: waitMs <= 0, nextRunMs: nowMs + waitMs, wanted: hello.wanted === true, problem: undefined };
}

/** Says hello, hears what the server says, and goodbye. Throws what the server says against it, or `ConnectionError`. */
export async function askServer(
  agent: Pick<Agent, "connect">,
  program: string,
  signal?: AbortSignal,
): Promise<ServerHello> {
  const connection = openConnection(agent.connect());
  const stop = (): void => connection.close();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const messages = connection.messages();
    connection.send({ kind: "hello", json: encodeHello({ version: VERSION, program, purpose: "ask" }) });
    const first = await messages.next();
    signal?.throwIfAborted();
    if (first.done === true) throw new ConnectionError("the server hung up without a word");
    if (first.value.kind !== "hello") throw malformed("it does not begin with a hello");
    return decodeServerHello(first.value.json);
  } finally {
    signal?.removeEventListener("abort", stop);
    connection.close();
  }
}

function dueByItself({ settings }: Agent, folder: string, nowMs: number): Pick<Due, "isDue" | "nextRunMs" | "wanted"> {
  const last = readLastRun(folder);
  const schedule = parseSchedule(settings.policy.schedule);
  const savedMs = last?.savedMs;
  // A clock that was set back must not make it wait for what was the future.
  const nextRunMs = savedMs === undefined || savedMs > nowMs ? nowMs : nextPlaceMs(schedule, settings.host, savedMs);
  return { isDue: nextRunMs <= nowMs, nextRunMs, wanted: false };
}

function readAnswer(folder: string): { askedMs: number; nextRunMs: number } | undefined {
  try {
    const { askedMs, nextRunMs } = JSON.parse(readFileSync(agentFile.asked(folder), "utf8")) as Record<string, unknown>;
    return typeof askedMs === "number" && typeof nextRunMs === "number" ? { askedMs, nextRunMs } : undefined;
  } catch {
    // Not there, or not whole: then the server is asked.
    return undefined;
  }
}
