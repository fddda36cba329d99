/** The server's process killed at chosen moments of a run, while another host is at work; then it is started again. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, renameSync, statSync, watch, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { Agent } from "../../src/agent/state.ts";
import { seededRandom } from "../../src/storage/testing/random.ts";
import type { ByteChannel } from "../../src/wire/connection.ts";
import { runBackup } from "../server/test-fleet.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { holdfastOk } from "../support/holdfast.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { localSite, type LocalSite } from "./local-site.ts";

const MEBIBYTE = 1024 * 1024;
const SEED = Number(process.env.HOLDFAST_SEED ?? 1);
/** What the host saves in a run that the server is killed in, and what the other one saves. */
const RUN_BYTES = { web1: 8 * MEBIBYTE, db1: MEBIBYTE };

interface Moment {
  readonly name: string;
  /** Resolves when it has come. */
  come(repository: string, data: string, host: string): Promise<void>;
}

/** Something got a name in this folder (of a pack: in any of its folders), for the nth time. */
function named(name: string, folder: string, times = 1): Moment {
  return {
    name,
    come: (repository) =>
      new Promise((resolve) => {
        let left = times;
        const watcher = watch(path.join(repository, folder), { recursive: folder === "packs" }, () => {
          if (--left > 0) return;
          watcher.close();
          resolve();
        });
      }),
  };
}

/** So much of an object of this host has arrived. */
function arrived(bytes: number): Moment {
  return {
    name: `${bytes} bytes of a pack have arrived`,
    async come(_repository, data, host) {
      while (incoming(data, host) < bytes) await wait(1);
    },
  };
}

const MOMENTS: readonly Moment[] = [
  named("the run is noted", "running"),
  arrived(1),
  arrived(3 * MEBIBYTE),
  named("the first object is being written", "tmp"),
  named("a later object is being written", "tmp", 4),
  named("a pack has its name", "packs"),
  named("the index has its name", "index"),
  named("the record has its name", "snapshots"),
];

function incoming(data: string, host?: string): number {
  const folder = path.join(data, "incoming");
  const prefix = host === undefined ? "" : createHash("sha256").update(host).digest("hex").slice(0, 16);
  return bytesIn(folder, (name) => name.startsWith(prefix));
}

function bytesIn(folder: string, isMeant: (name: string) => boolean = () => true): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !isMeant(entry.name)) continue;
    bytes += statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** Objects with their names: what is still written lies in incoming/ as well. */
function storedIn(repository: string): number {
  return bytesIn(repository) - bytesIn(path.join(repository, "tmp"));
}

/** What has arrived of objects that are not stored. */
function incomingBesides(data: string, repository: string): number {
  const packs = readdirSync(path.join(repository, "packs"), { recursive: true, encoding: "utf8" });
  const stored = new Set(packs.map((name) => createHash("sha256").update(`packs/${name}`).digest("hex").slice(0, 32)));
  return bytesIn(path.join(data, "incoming"), (name) => !stored.has(name.split("-")[1]));
}

interface Saver {
  readonly name: keyof typeof RUN_BYTES;
  readonly top: string;
  readonly agent: Agent;
  readonly cacheFolder: string;
  sentBytes: number;
}

/** Counts what the agent sends, whether it arrives or not. */
function counting(saver: Saver): ByteChannel {
  const channel = saver.agent.connect();
  const { output } = channel;
  const write = output.write.bind(output) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
  output.write = ((chunk: Uint8Array, ...rest: unknown[]) => {
    saver.sentBytes += chunk.length;
    return write(chunk, ...rest);
  }) as typeof output.write;
  return channel;
}

async function save(saver: Saver): Promise<string> {
  const { name, agent, cacheFolder, top } = saver;
  const fleet = { owner: { ring: agent.ring }, connect: () => counting(saver) };
  const host = { name, signingKey: agent.signingKey, cacheFolder };
  const run = await runBackup(fleet as never, host, top, {
    retryDelaysMs: Array.from({ length: 2000 }, () => 20),
  });
  return run.result.snapshotId;
}

async function addSaver(here: LocalSite, scratch: string, name: Saver["name"]): Promise<Saver> {
  const top = path.join(scratch, `files of ${name}`);
  mkdirSync(top);
  const { agent } = await here.enrol(name, top);
  return { name, top, agent, cacheFolder: path.join(scratch, `cache of ${name}`), sentBytes: 0 };
}

test("a server that is killed at any moment of a run goes on with it, and sends for nothing twice", async (t) => {
  const scratch = temporaryFolder(t);
  const here = await localSite(t);
  const repository = path.join(here.data, "repositories/default");
  const [web, db] = [await addSaver(here, scratch, "web1"), await addSaver(here, scratch, "db1")];
  const random = seededRandom(SEED);
  writeFileSync(path.join(web.top, "first"), "first");
  const saved = new Map<string, string[]>([
    ["web1", [await save(web)]],
    ["db1", []],
  ]);
  for (const [number, moment] of MOMENTS.entries()) {
    for (const { top, name } of [web, db]) {
      writeFileSync(path.join(top, `file${number}`), scrambledBytes(`${SEED}/${number}/${name}`, RUN_BYTES[name]));
    }
    web.sentBytes = db.sentBytes = 0;
    const objectsBefore = storedIn(repository);
    const come = moment.come(repository, here.data, "web1");
    const runs = Promise.all([save(web), save(db)]);
    const overtaken = await Promise.race([come.then(() => false), runs.then(() => true)]);
    assert.ok(!overtaken, `the moment "${moment.name}" did not come`);
    await wait(random.below(3));
    await here.kill("SIGKILL");
    const sentAtKill = web.sentBytes + db.sentBytes;
    const arrivedAtKill = storedIn(repository) - objectsBefore + incomingBesides(here.data, repository);
    const lost = sentAtKill - arrivedAtKill;
    await here.start();
    const [ofWeb, ofDb] = await runs;
    saved.get("web1")!.push(ofWeb);
    saved.get("db1")!.push(ofDb);
    const sent = web.sentBytes + db.sentBytes;
    const stored = storedIn(repository) - objectsBefore;
    // Hellos, listings and requests come on top.
    assert.ok(
      sent <= stored + lost + 256 * 1024,
      `${moment.name}: ${sent} bytes were sent for ${stored}, and ${lost} were lost on the way`,
    );
    assert.equal(incoming(here.data), 0);
  }

  const recovery = path.join(here.data, "recovery-key-default.txt");
  const open = ["-r", repository, "--identity-file", recovery];
  const listed = JSON.parse(await holdfastOk([...open, "snapshots", "--json"])) as { id: string; hostname: string }[];
  for (const [host, ids] of saved) {
    const found = listed.filter(({ hostname }) => hostname === host).map(({ id }) => id);
    assert.deepEqual(found.toSorted(), ids.toSorted(), `snapshots of ${host}`);
  }
  await holdfastOk([...open, "check", "--read-data"]);
  for (const { name, top } of [web, db]) {
    const target = path.join(scratch, `restored of ${name}`);
    await holdfastOk([...open, "restore", `${saved.get(name)!.at(-1)}:${top}`, "--target", target]);
    await runOk("diff", ["-r", top, target]);
  }

  // And without its database: what it knows comes back from the repository.
  await here.kill("SIGKILL");
  for (const name of readdirSync(here.data).filter((file) => file.startsWith("holdfast.sqlite"))) {
    renameSync(path.join(here.data, name), path.join(scratch, name));
  }
  await here.start();
  const again = await save(db);
  assert.ok(!saved.get("db1")!.includes(again));
  const status = JSON.parse(await here.admin("status", "--json")) as { hosts: { host: string; snapshots: number }[] };
  assert.deepEqual(
    status.hosts.map(({ host, snapshots }) => [host, snapshots]),
    [
      ["db1", MOMENTS.length + 1],
      ["web1", MOMENTS.length + 1],
    ],
  );
});
