/**
 * A server and many hosts on one machine: `npm run bench:fleet [-- --hosts 200] [--mebibytes 4] [--at-once 8]
 * [--processes 2] [--socket]`. Its data is below TMPDIR.
 *
 * Hosts come through OpenSSH, each with its own key, as they do in earnest; with `--socket` straight to the server's
 * socket, which leaves out what ssh, sshd and `holdfast serve` cost. Everything shares the machine's processors: the
 * server, the hosts, and both ends of ssh.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { enrolAtServer } from "../src/agent/enrol.ts";
import { agentFile } from "../src/agent/state.ts";
import { dataFile } from "../src/fleet/data-folder.ts";
import { createApiClient } from "../src/server/api-client.ts";
import { checkoutFolder } from "../test/support/holdfast.ts";
import { startSshServer, type SshServer } from "../test/support/ssh-server.ts";
import { withTemporaryFolder } from "../test/support/temporary-folder.ts";
import type { Stage, StageResult } from "./fleet-hosts.ts";

const MEBIBYTE = 1024 * 1024;
const FILES = 200;

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "200" },
    mebibytes: { type: "string", default: "4" },
    "at-once": { type: "string", default: "8" },
    processes: { type: "string", default: String(availableParallelism()) },
    socket: { type: "boolean", default: false },
  },
});
const hostCount = Number(values.hosts);
const bytesEach = Number(values.mebibytes) * MEBIBYTE;
const atOnce = Number(values["at-once"]);
const processCount = Number(values.processes);
const user = process.env.USER ?? "root";

function say(what: string, value: string): void {
  process.stdout.write(`| ${what} | ${value} |\n`);
}

await withTemporaryFolder(async (folder) => {
  const undo: (() => unknown)[] = [];
  const t = { after: (work: () => unknown) => void undo.push(work) } as never;
  try {
    await measure(folder, t, undo);
  } finally {
    for (const work of undo.toReversed()) await work();
  }
});

async function measure(folder: string, t: never, undo: (() => unknown)[]): Promise<void> {
  const data = path.join(folder, "data");
  const ssh = await startSshServer(t);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const authorizedKeys = path.join(path.dirname(ssh.identityFile), "authorized_keys");
  writeFileSync(
    path.join(data, "holdfast.toml"),
    `[ssh]\nauthorized_keys = "${authorizedKeys}"\n[maintenance]\nenabled = false\n`,
  );
  const server = await startServer(data);
  undo.push(() => end(server));
  const hosts = await enrolHosts(folder, data, ssh);
  const share = Math.ceil(hosts.length / processCount);
  const groups = Array.from({ length: processCount }, (_, number) =>
    startGroup(hosts.slice(number * share, (number + 1) * share)),
  );
  undo.push(() => groups.forEach(({ child }) => child.kill("SIGKILL")));

  await all(groups, { stage: "prepare", bytesEach });
  const way = values.socket ? "the socket" : "ssh";
  say("", `${hostCount} hosts over ${way}, ${atOnce} at once, ${availableParallelism()} cores`);
  const perGroup = Math.ceil(atOnce / processCount);
  const cpuBefore = cpuSecondsOf(server.pid!);
  const uploadMs = await timed(() => all(groups, { stage: "upload", atOnce: perGroup }));
  const serverCpu = cpuSecondsOf(server.pid!) - cpuBefore;
  const total = hostCount * bytesEach;
  say("first backups: all hosts together", rate(total, uploadMs));
  say("of it the server's processor time", `${serverCpu.toFixed(1)} s for ${total / MEBIBYTE} MiB`);
  say("server's memory then (largest)", memoryOf(server.pid!));
  if (!values.socket) {
    const catMs = await timed(() => catOverSsh(t, folder));
    say("the same bytes by ssh … 'cat > file'", `${rate(total, catMs)}, ${(uploadMs / catMs).toFixed(2)} × the time`);
  }
  await all(groups, { stage: "run", atOnce: perGroup });
  const unchanged = await all(groups, { stage: "run", atOnce: perGroup });
  const took = unchanged.flatMap(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  say(`a run without a change (${FILES} files), p50 / p99`, `${percentile(took, 0.5)} / ${percentile(took, 0.99)} ms`);
  const bytes = unchanged.reduce((sum, result) => sum + result.bytes, 0);
  say("bytes on the wire for each", String(Math.round(bytes / hostCount)));
  say("server's memory at the end (largest)", memoryOf(server.pid!));
}

async function startServer(data: string): Promise<ChildProcess> {
  const program = path.join(checkoutFolder, "bin/holdfast");
  const server = spawn(program, ["server", "--data", data], { stdio: ["ignore", "ignore", "ignore"] });
  const client = createApiClient(dataFile.apiSocket(data));
  for (let tries = 0; ; tries++) {
    try {
      await client.call("GET", "/v1/policies");
      return server;
    } catch (error) {
      if (tries > 300 || server.exitCode !== null) throw error;
      await wait(100);
    }
  }
}

/** As `agent setup` does, but without a program for each. */
async function enrolHosts(folder: string, data: string, ssh: SshServer): Promise<string[]> {
  const client = createApiClient(dataFile.apiSocket(data));
  const source = path.join(folder, "source");
  mkdirSync(source);
  for (let number = 0; number < FILES; number++) writeFileSync(path.join(source, `file${number}`), `content ${number}`);
  await client.call("PATCH", "/v1/policies/default", { sources: [source], minimumIntervalMinutes: 0 });
  const folders: string[] = [];
  for (let number = 0; number < hostCount; number++) {
    const agentFolder = path.join(folder, "agents", `host${number}`);
    const hostName = `host${number}`;
    const place = values.socket ? { dataFolder: data } : { host: "127.0.0.1", port: ssh.port, user };
    await enrolAtServer({
      folder: agentFolder,
      server: place,
      hostName,
      enrol: async (keys) =>
        JSON.stringify(
          await client.call("POST", "/v1/enrol", { host: hostName, keys: JSON.parse(keys), withToken: false }),
        ),
    });
    copyFileSync(ssh.knownHostsFile, agentFile.knownHosts(agentFolder));
    folders.push(agentFolder);
  }
  return folders;
}

interface Group {
  readonly child: ChildProcess;
  readonly answers: AsyncIterator<string>;
}

function startGroup(folders: readonly string[]): Group {
  const program = path.join(import.meta.dirname, "fleet-hosts.ts");
  const child = spawn(process.execPath, [program, ...folders], { stdio: ["pipe", "pipe", "inherit"] });
  const lines: Interface = createInterface({ input: child.stdout });
  return { child, answers: lines[Symbol.asyncIterator]() };
}

function all(groups: readonly Group[], stage: Stage): Promise<StageResult[]> {
  return Promise.all(
    groups.map(async ({ child, answers }) => {
      child.stdin!.write(`${JSON.stringify(stage)}\n`);
      const { value, done } = await answers.next();
      if (done === true) throw new Error("a process of hosts has ended");
      return JSON.parse(value) as StageResult;
    }),
  );
}

/** A login and a file for each host, as many at once; without the fsync that the server does. */
async function catOverSsh(t: never, folder: string): Promise<void> {
  const ssh = await startSshServer(t);
  const content = path.join(folder, "content");
  // What each sends differs, but neither ssh nor cat minds.
  writeFileSync(content, Buffer.alloc(bytesEach, 7));
  const remaining = Array.from({ length: hostCount }, (_, number) => number).values();
  const options = [...ssh.clientOptions, "-oCompression=no"].map((option) => `'${option}'`).join(" ");
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const number of remaining) {
        const script = `ssh ${options} 127.0.0.1 'cat > ${folder}/copy${number}' < ${content}`;
        const child = spawn("sh", ["-c", script], { stdio: "inherit" });
        const [code] = (await once(child, "exit")) as [number];
        if (code !== 0) throw new Error(`ssh ended with ${code}`);
      }
    }),
  );
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

function rate(bytes: number, ms: number): string {
  return `${(bytes / MEBIBYTE / (ms / 1000)).toFixed(0)} MiB/s`;
}

function percentile(sorted: readonly number[], part: number): string {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(0);
}

/** User and system time: proc(5), /proc/pid/stat, in hundredths of a second. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function memoryOf(pid: number): string {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
  return `${of("VmRSS").toFixed(0)} MiB (${of("VmHWM").toFixed(0)} MiB)`;
}

async function end(server: ChildProcess): Promise<void> {
  const ended = once(server, "exit");
  server.kill("SIGTERM");
  await ended;
}
