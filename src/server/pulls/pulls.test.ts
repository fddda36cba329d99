import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { Cleanup } from "../../../test/support/at-end.ts";
import { atEnd } from "../../../test/support/at-end.ts";
import { BusyError, UsageError } from "../../errors.ts";
import { addHost, editHost, findHost } from "../../fleet/hosts.ts";
import { endRun, findRun, listRuns, wantRun, type RunEnd } from "../../fleet/runs.ts";
import { enrolledHost, HOUR_MS, setPolicy, START_MS, testFleet, type TestFleet } from "../../fleet/testing/fleet.ts";
import type { ToldPull } from "./pull-process.ts";
import { createPulls, type Pulls } from "./pulls.ts";

const MINUTE_MS = 60_000;

interface Place {
  readonly fleet: TestFleet;
  readonly pulls: Pulls;
  readonly clock: { nowMs: number };
  /** Pulls under way. */
  readonly told: Map<string, { readonly runId: number; finish(end?: RunEnd): Promise<void> }>;
}

/** Hosts named here, pulled every four hours by somebody who only waits to be told that he is done. */
async function place(t: Cleanup, hosts: readonly string[], atOnce = 2): Promise<Place> {
  const fleet = await testFleet(t);
  const { database } = fleet;
  await setPolicy(fleet, "pull", { schedule: "every 4h" });
  for (const name of hosts) {
    const pull = { login: `root@${name}`, port: 22, hostKeys: ["ssh-ed25519 AAAA"], pathsFrom: "policy" } as const;
    await addHost(database, { name, account: "default", policy: "pull", keyMode: "full", quota: {}, pull }, START_MS);
  }
  const clock = { nowMs: START_MS };
  const told: Place["told"] = new Map();
  const perform = ({ host, runId }: ToldPull, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const finish = async (end?: RunEnd): Promise<void> => {
        told.delete(host);
        if (end !== undefined) await endRun(database, runId, end, clock.nowMs);
        resolve();
      };
      told.set(host, { runId, finish });
      signal.addEventListener("abort", () => void finish(), { once: true });
    });
  const pulls = createPulls({
    database,
    dataFolder: fleet.folder,
    program: "test",
    atOnce,
    longestMs: 10 * HOUR_MS,
    nowMs: () => clock.nowMs,
    log: () => undefined,
    perform,
  });
  atEnd(t, () => pulls.close());
  return { fleet, pulls, clock, told };
}

const FAILED: RunEnd = { state: "failed", error: "no route to host" };

test("so many hosts at once are pulled from, each once, and hosts with agents are not", async (t) => {
  const { fleet, pulls, clock, told } = await place(t, ["a", "b", "c"]);
  await enrolledHost(fleet, "with-agent");
  await pulls.tick();
  assert.equal(told.size, 0);
  clock.nowMs += 11 * MINUTE_MS;
  await pulls.tick();
  assert.deepEqual([told.size, pulls.running("default"), pulls.running("other")], [2, 2, 0]);
  await pulls.tick();
  assert.equal(told.size, 2);
  const [first] = told.keys();
  await told.get(first)!.finish(FAILED);
  await pulls.tick();
  assert.deepEqual([...told.keys(), first].toSorted(), ["a", "b", "c"]);
});

test("what failed is tried again later and later; a person who waits comes first, and at once", async (t) => {
  const { fleet, pulls, clock, told } = await place(t, ["a", "b"], 1);
  const { database } = fleet;
  clock.nowMs += 11 * MINUTE_MS;
  await pulls.tick();
  const [first] = told.keys();
  await told.get(first)!.finish(FAILED);
  const other = first === "a" ? "b" : "a";
  await wantRun(database, (await findHost(database, first)).id, clock.nowMs);
  await pulls.tick();
  assert.deepEqual([...told.keys()], [first]);
  const wantedId = await pulls.start(await findHost(database, other));
  assert.equal(told.size, 2);
  await assert.rejects(pulls.start(await findHost(database, other)), BusyError);
  for (const pull of told.values()) await pull.finish(FAILED);
  assert.equal((await findRun(database, wantedId))?.state, "failed");

  clock.nowMs += 9 * MINUTE_MS;
  await pulls.tick();
  assert.equal(told.size, 0);
  clock.nowMs += 2 * MINUTE_MS;
  await pulls.tick();
  assert.deepEqual([...told.keys()], [other]);
});

test("of pulls that are asked for all at once, some wait until others have ended", async (t) => {
  const names = Array.from({ length: 10 }, (_, number) => `h${number}`);
  const { fleet, pulls, told } = await place(t, names, 2);
  const { database } = fleet;
  const hosts = await Promise.all(names.map((name) => findHost(database, name)));
  const ids = await Promise.all(hosts.map((host) => pulls.start(host)));
  assert.equal(told.size, 8);
  const states = async () => (await Promise.all(ids.map((id) => findRun(database, id)))).map((run) => run?.state);
  assert.equal((await states()).filter((state) => state === "waiting").length, 2);

  const done = new Set<string>();
  while (told.size > 0) {
    const [[name, pull]] = told;
    done.add(name);
    await pull.finish({ state: "failed", error: "no" });
    for (let turns = 0; turns < 50 && told.size < Math.min(8, names.length - done.size); turns++) await wait(5);
  }
  assert.equal(done.size, 10);
  assert.deepEqual(await states(), Array<string>(10).fill("failed"));
});

test("a process that ends without a word has failed, and so have those that the server stops", async (t) => {
  const { fleet, pulls, clock, told } = await place(t, ["a", "b"]);
  clock.nowMs += HOUR_MS;
  await pulls.tick();
  await told.get("a")!.finish();
  await pulls.close();
  const runs = await listRuns(fleet.database, { limit: 10 });
  assert.deepEqual(
    runs.map(({ state, error }) => [state, error]),
    Array.from({ length: 2 }, () => ["failed", "the process that pulled ended without a word"]),
  );
  await pulls.tick();
  assert.equal(told.size, 0);
});

test("suspended hosts, and those that have an agent, are not to be had", async (t) => {
  const { fleet, pulls, clock, told } = await place(t, ["a"]);
  await enrolledHost(fleet, "with-agent");
  await assert.rejects(pulls.start(await findHost(fleet.database, "with-agent")), UsageError);
  await assert.rejects(pulls.start(await editHost(fleet.database, "a", { suspended: true })), /suspended/);
  clock.nowMs += HOUR_MS;
  await pulls.tick();
  assert.equal(told.size, 0);
});

test("hosts that never come to an end keep nobody waiting for long, and are stopped in the end", async (t) => {
  const { fleet, pulls, clock, told } = await place(t, ["a", "b", "c"], 2);
  clock.nowMs += 11 * MINUTE_MS;
  await pulls.tick();
  const slow = [...told.keys()];
  assert.equal(slow.length, 2);
  clock.nowMs += HOUR_MS;
  await pulls.tick();
  assert.equal(told.size, 2);
  clock.nowMs += MINUTE_MS;
  await pulls.tick();
  assert.equal(told.size, 3);
  clock.nowMs += 9 * HOUR_MS;
  await pulls.tick();
  const runs = await listRuns(fleet.database, { limit: 10 });
  const stopped = runs.filter(({ error }) => error?.startsWith("it took longer than 10 hours"));
  assert.deepEqual(stopped.map(({ host }) => host).toSorted(), slow.toSorted());
  assert.ok(stopped.every(({ state }) => state === "failed"));
  assert.ok(slow.every((name) => !told.has(name)));
});
