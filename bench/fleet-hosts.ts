/**
 * A process with some of the hosts that `bench/fleet.ts` simulates: their agents' own code, each with keys, connection and
 * session of its own. Told on standard input, a line of JSON for each stage; answers each with one.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { openRemoteStorage } from "../src/agent/remote-storage.ts";
import { runAgent } from "../src/agent/run.ts";
import { agentFile, readAgent } from "../src/agent/state.ts";
import { forgeIndex, forgePack, forgeSnapshot, framesOf, type ForgedPack } from "../test/server/hostile-agent.ts";

export type Stage =
  /** Makes what will be uploaded: packs of frames that do not compress. */
  | { readonly stage: "prepare"; readonly bytesEach: number }
  /** Each host connects, stores its packs and an index, commits a snapshot, and says goodbye. */
  | { readonly stage: "upload"; readonly atOnce: number }
  /** Each host makes a whole run, as by the timer. */
  | { readonly stage: "run"; readonly atOnce: number };

export interface StageResult {
  readonly bytes: number;
  /** How long each host took. */
  readonly tookMs: readonly number[];
}

const FRAME_BYTES = 1024 * 1024;
const PROGRAM = "holdfast bench";

const folders = process.argv.slice(2);
const prepared = new Map<string, ForgedPack[]>();

for await (const line of createInterface({ input: process.stdin })) {
  const result = await perform(JSON.parse(line) as Stage);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

async function perform(stage: Stage): Promise<StageResult> {
  switch (stage.stage) {
    case "prepare":
      for (const folder of folders) prepared.set(folder, preparePacks(folder, stage.bytesEach));
      return { bytes: 0, tookMs: [] };
    case "upload":
      return forEach(stage.atOnce, upload);
    case "run":
      return forEach(stage.atOnce, runOnce);
  }
}

function preparePacks(folder: string, bytes: number): ForgedPack[] {
  const { ring } = readAgent(folder);
  const frames = Array.from({ length: Math.ceil(bytes / FRAME_BYTES) }, () => randomBytes(FRAME_BYTES));
  const packs: ForgedPack[] = [];
  for (let at = 0; at < frames.length; at += 16) packs.push(forgePack(ring, frames.slice(at, at + 16)));
  return packs;
}

async function forEach(atOnce: number, work: (folder: string) => Promise<number>): Promise<StageResult> {
  const remaining = folders.values();
  const tookMs: number[] = [];
  let bytes = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const folder of remaining) {
        const startMs = performance.now();
        bytes += await work(folder);
        tookMs.push(performance.now() - startMs);
      }
    }),
  );
  return { bytes, tookMs };
}

async function upload(folder: string): Promise<number> {
  const { ring, connect, signingKey } = readAgent(folder);
  const packs = prepared.get(folder) ?? [];
  prepared.delete(folder);
  const options = { location: "server", purpose: "backup", program: PROGRAM, retryDelaysMs: [1000, 1000] } as const;
  const remote = await openRemoteStorage({ ...options, connect });
  const { host, startedMs: timeMs } = remote.server;
  await Promise.all(packs.map(({ name, bytes }) => remote.put(name, [bytes])));
  const index = forgeIndex(ring, packs);
  await remote.put(index.name, [index.bytes]);
  const record = forgeSnapshot(ring, { host, signingKey, timeMs, frames: packs.map(framesOf) });
  await remote.put(record.name, [record.bytes]);
  await remote.close();
  return remote.traffic.sentBytes;
}

async function runOnce(folder: string): Promise<number> {
  mkdirSync(agentFile.cache(folder), { recursive: true });
  const fail = ({ error }: { readonly error: unknown }): never => {
    throw error;
  };
  const result = await runAgent({
    folder,
    program: PROGRAM,
    user: "bench",
    onProblem: fail,
    retryDelaysMs: [1000, 1000],
  });
  return result.sentBytes + result.receivedBytes;
}
