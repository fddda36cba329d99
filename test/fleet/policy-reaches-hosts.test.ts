/** What an administrator decides on the server reaches hosts by itself: what is saved, when, how fast, and a run now. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Run } from "../../src/fleet/runs.ts";
import { agentFile } from "../../src/agent/state.ts";
import { ownHost, ownServer, type OwnHost } from "./own-server.ts";

/** Names of what the newest snapshot of a host holds, without folders. */
async function saved({ agentOk, files }: OwnHost): Promise<string[]> {
  const folder = path.join(path.dirname(files), `restored-${process.hrtime.bigint()}`);
  const printed = await agentOk("restore", "latest", "--target", folder, "--json", "-vv");
  const items = printed
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { message_type: string; item?: string; action?: string });
  return items
    .flatMap(({ item }) => (item === undefined ? [] : [path.basename(item)]))
    .filter((name) => /^f\d$/.test(name))
    .toSorted();
}

test("a policy that is edited counts at the next run, without a new setup; what the host keeps to itself stays out", async (t) => {
  const server = await ownServer(t);
  const host = await ownHost(server, "web1", { f1: "1", f2: "2", f3: "3" });
  await host.agentOk("run");
  assert.deepEqual(await saved(host), ["f1", "f2", "f3"]);

  const more = path.join(server.folder, "more");
  mkdirSync(more);
  for (const name of ["f4", "f5"]) writeFileSync(path.join(more, name), name);
  await server.admin("policy", "edit", "web1", "--source", more, "--source", host.files, "--exclude", "f2");
  assert.match(await host.agentOk("run"), /policy has changed/);
  assert.deepEqual(await saved(host), ["f1", "f3", "f4", "f5"]);
  const status = JSON.parse(await host.agentOk("status", "--json")) as { policy: { excludes: string[] } };
  assert.deepEqual(status.policy.excludes, ["f2"]);

  // The server cannot bring in again what the host leaves out.
  writeFileSync(agentFile.exclude(host.agentFolder), "# keys\nf3\n");
  await server.call("PATCH", "/v1/policies/web1", { excludes: ["f5", "!f3"] });
  await host.agentOk("run");
  assert.deepEqual(await saved(host), ["f1", "f2", "f4"]);
});

test("a host with a fixed policy goes on with what it was set up with", async (t) => {
  const server = await ownServer(t);
  const host = await ownHost(server, "web1", { f1: "1", f2: "2" }, ["--fixed-policy"]);
  await server.call("PATCH", "/v1/policies/web1", { excludes: ["f1"] });
  await host.agentOk("run");
  assert.deepEqual(await saved(host), ["f1", "f2"]);
  assert.match(await host.agentOk("status"), /policy is fixed on this host/);
});

test("a host is saved when it is due or somebody wants it, and the run that was asked for can be followed", async (t) => {
  const server = await ownServer(t);
  const host = await ownHost(server, "web1", { f1: "1" });
  await server.call("PATCH", "/v1/policies/web1", { minimumIntervalMinutes: 600 });
  const asks = async (): Promise<string> => (await host.agentOk("run", "--if-due")).trim();

  assert.match(await asks(), /snapshot \w+ saved/, "it was never saved");
  assert.match(await asks(), /^nothing is due before /);
  const runs = () => server.call<Run[]>("GET", "/v1/runs");
  assert.equal((await runs()).length, 1);

  const { run } = await server.call<{ run: Run }>("POST", "/v1/hosts/web1/run");
  assert.equal(run.state, "waiting");
  assert.match(await server.admin("host", "run", "web1"), /asks every 15 minutes: it should begin by/);
  // The host does not ask more often than it should; a quarter of an hour later it does.
  assert.match(await asks(), /^nothing is due before /);
  const asked = JSON.stringify({ askedMs: Date.now() - 15 * 60_000, nextRunMs: Date.now() + 3_600_000 });
  writeFileSync(agentFile.asked(host.agentFolder), asked);
  const following = server.adminTry("runs", "follow", "web1");
  // Though the minimum interval is not over: a person wants it.
  assert.match(await asks(), /somebody wants a run[^]*snapshot \w+ saved/);
  const followed = await following;
  assert.equal(followed.status, 0, followed.stderr);
  assert.match(followed.stdout, /the run began: holdfast/);
  const [last, first] = await runs();
  assert.deepEqual([last.id, last.state, first.state], [run.id, "succeeded", "succeeded"]);

  // By itself it may not, and that stands in the history with its reason.
  const refused = await host.agent("run");
  assert.notEqual(refused.status, 0);
  await host.agent("run");
  const history = await server.call<Run[]>("GET", "/v1/runs?state=refused");
  assert.equal(history.length, 1);
  assert.match(history[0].error ?? "", /has a snapshot of .* already \(the next may begin at /);
});

test("a run that waits can be called off; one of a suspended host is not taken", async (t) => {
  const server = await ownServer(t);
  await ownHost(server, "web1", { f1: "1" });
  assert.match(await server.admin("host", "run", "web1"), /its agent has never asked/);
  await server.admin("host", "run", "web1", "--cancel");
  assert.deepEqual(await server.call("GET", "/v1/runs"), []);
  assert.notEqual((await server.adminTry("host", "run", "web1", "--cancel")).status, 0);
  await server.call("PATCH", "/v1/hosts/web1", { suspended: true });
  assert.match((await server.adminTry("host", "run", "web1")).stderr, /suspended/);
});

test("where the server cannot be asked, a host goes by the policy that it knows", async (t) => {
  const server = await ownServer(t);
  const host = await ownHost(server, "web1", { f1: "1" });
  await host.agentOk("run");
  const settings = path.join(host.agentFolder, "agent.json");
  const text = readFileSync(settings, "utf8");
  writeFileSync(settings, text.replace(server.data, path.join(server.folder, "nowhere")));
  const asked = await host.agent("run", "--if-due");
  assert.equal(asked.status, 0, asked.stderr);
  assert.match(asked.stderr, /could not be asked/);
  assert.match(asked.stdout, /nothing is due before/);
  const tried = await host.agent("run", "--retries", "2", "--retry-after", "0");
  assert.notEqual(tried.status, 0);
  assert.equal(tried.stderr.match(/the connection broke .*; trying again/g)?.length, 4);
});

test("quota, soft and hard, is judged by host and account, and what to do is told", async (t) => {
  const server = await ownServer(t);
  const host = await ownHost(server, "web1", { f1: randomBytes(300_000) });
  await server.call("PATCH", "/v1/hosts/web1", { quota: { hardBytes: 20_000 } });
  const refused = await host.agent("run");
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /used up its quota/);
  assert.match(refused.stderr, /holdfast host edit web1 --quota SIZE/);
  const [run] = await server.call<Run[]>("GET", "/v1/runs");
  assert.equal(run.state, "refused");
  assert.match(run.error ?? "", /used up its quota \(an administrator can raise it/);
});
