/** Hosts that come with a stock rsync: they push snapshots of themselves to a server, and fetch their own. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Run } from "../../src/fleet/runs.ts";
import { skipUnless } from "../support/requirements.ts";
import { run, runOk, type CommandResult } from "../support/run-command.ts";
import { endOfRun, pullSite, userName, type PullSite } from "./pull-site.ts";
import type { Cleanup } from "../support/at-end.ts";

const skip = skipUnless({ commands: ["ssh", "sshd", "ssh-keygen", "rsync"] });

interface Pusher {
  /** rsync with `SERVER:` in its arguments for the server. */
  rsync(...args: string[]): Promise<CommandResult>;
  ssh(...command: string[]): Promise<CommandResult>;
  /** As `rsync`, but killed when it has sent this file. */
  killedAt(file: string, ...args: string[]): Promise<CommandResult>;
}

async function pusher(site: PullSite, name: string, ...more: string[]): Promise<Pusher> {
  const key = path.join(site.folder, `key-of-${name}`);
  await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  await site.admin("host", "add", name, "--rsync-key", `${key}.pub`, ...more);
  site.authorize(readFileSync(path.join(site.data, ".ssh/authorized_keys"), "utf8"));
  const options = site.ssh.clientOptions.map((option) => (option.startsWith("-i") ? `-i${key}` : option));
  const withShell = (args: readonly string[]): string[] => [
    "-e",
    ["ssh", ...options].join(" "),
    ...args.map((arg) => arg.replace(/^SERVER:/, `${userName()}@127.0.0.1:`)),
  ];
  return {
    rsync: (...args) => run("rsync", withShell(args)),
    ssh: (...command) => run("ssh", [...options, "127.0.0.1", ...command]),
    killedAt: (file, ...args) =>
      run("rsync", ["--out-format=sent %n", "--outbuf=L", ...withShell(args)], { endAt: `sent ${file}\n` }),
  };
}

async function quick(t: Cleanup): Promise<PullSite> {
  const site = await pullSite(t);
  await site.admin("policy", "edit", "default", "--minimum-interval", "0");
  return site;
}

const runsOf = (site: PullSite): Promise<Run[]> => site.api.call<Run[]>("GET", "/v1/runs");

async function ok(result: Promise<CommandResult>): Promise<string> {
  const { status, stdout, stderr } = await result;
  assert.equal(status, 0, stderr);
  return stdout;
}

test(
  "a stock rsync pushes a snapshot, sends little the next time, and fetches it back as it was",
  { skip },
  async (t) => {
    const site = await quick(t);
    mkdirSync(path.join(site.files, "etc"));
    writeFileSync(path.join(site.files, "etc/motd"), "hello\n");
    writeFileSync(path.join(site.files, "big"), randomBytes(2_000_000));
    const web1 = await pusher(site, "web1");
    const push = ["-aHAX", "--numeric-ids", `${site.files}/`, "SERVER:"];
    await ok(web1.rsync("--dry-run", ...push));
    assert.deepEqual(await runsOf(site), []);
    await ok(web1.rsync(...push));
    const [first] = await runsOf(site);
    assert.deepEqual([first.state, first.files, first.error], ["succeeded", 2, null]);
    writeFileSync(path.join(site.files, "etc/motd"), "good evening\n");
    await ok(web1.rsync(...push));
    const [second] = await runsOf(site);
    assert.ok(second.id !== first.id && second.storedBytes < 100_000, `${second.storedBytes}`);

    const listed = await ok(web1.rsync("SERVER:"));
    assert.equal(listed.match(/ \d{4}-\d\d-\d\dT/g)?.length, 2, listed);
    const copy = path.join(site.folder, "copy");
    await ok(web1.rsync("-aHAX", "--rsync-path=/usr/bin/rsync", "SERVER:latest/", `${copy}/`));
    assert.equal(await runOk("rsync", ["-aHAXnic", "--delete", `${site.files}/`, `${copy}/`]), "");
    await site.repository("check", "--read-data");
    for (const job of [["retention"], ["drill", "--host", "web1"]]) await site.admin("runs", "start", ...job);
    const status = JSON.parse(await site.admin("status", "--json")) as { health: string };
    assert.equal(status.health, "ok", JSON.stringify(status));
  },
);

test("a push of nothing makes no snapshot, and the server knows its own signature", { skip }, async (t) => {
  const site = await quick(t);
  writeFileSync(path.join(site.files, "a"), "text");
  const web1 = await pusher(site, "web1");
  assert.notEqual((await web1.rsync("-a", path.join(site.folder, "misspelt"), "SERVER:")).status, 0);
  const none = await web1.rsync("-a", "--files-from=/dev/null", `${site.files}/`, "SERVER:");
  assert.notEqual(none.status, 0);
  assert.deepEqual(await runsOf(site), []);
  await ok(web1.rsync("-a", `${site.files}/`, "SERVER:"));
  const { signatures } = JSON.parse(await site.admin("host", "show", "web1", "--json")) as { signatures: object };
  assert.deepEqual(signatures, { byPresentKey: 1, byEarlierKeys: 0, byUnknownKeys: 0 });
});

test("a host that comes with rsync gets no further than its own snapshots", { skip }, async (t) => {
  const site = await quick(t);
  writeFileSync(path.join(site.files, "a"), "secret of web1");
  const web1 = await pusher(site, "web1");
  await ok(web1.rsync("-a", `${site.files}/`, "SERVER:"));
  const other = await pusher(site, "db1", "--key-mode", "write-only");
  const third = await pusher(site, "mail1", "--quota", "1M");

  assert.doesNotMatch(await ok(third.rsync("SERVER:")), /\d{4}-\d\d-\d\dT/);
  const refusals: [Promise<CommandResult>, RegExp][] = [
    [other.rsync("SERVER:"), /holdfast: the host "db1" may store, and read nothing/],
    [third.rsync("-a", "SERVER:../../etc/passwd", `${site.folder}/x`), /./],
    [third.rsync("-a", `${site.data}/`, "SERVER:../web1"), /nothing above a snapshot/],
    [third.ssh("rsync --server --daemon ."), /./],
    [third.ssh("cat /etc/passwd"), /this key is for rsync and Holdfast's agent alone/],
    [third.ssh("rsync"), /this key is for rsync and Holdfast's agent alone/],
  ];
  for (const [result, message] of refusals) {
    const { status, stdout, stderr } = await result;
    assert.notEqual(status, 0, stderr);
    assert.match(stderr, message);
    assert.doesNotMatch(stdout, /root:|secret/);
  }
  // Much more than may wait at the server: it must not go on waiting for somebody to take it.
  for (let number = 0; number < 30; number++)
    writeFileSync(path.join(site.files, `big${number}`), randomBytes(1_000_000));
  const tooMuch = await third.rsync("-a", `${site.files}/`, "SERVER:");
  assert.notEqual(tooMuch.status, 0);
  assert.match(tooMuch.stderr, /has used up its quota/);
  const [last] = await runsOf(site);
  const refused = await endOfRun(site.api, last.id);
  assert.deepEqual([refused.host, refused.state], ["mail1", "refused"]);
  await site.admin("policy", "edit", "default", "--minimum-interval", "60");
  assert.match((await web1.rsync("-a", `${site.files}/`, "SERVER:")).stderr, /not yet 60 minutes old/);
  assert.match(await ok(web1.rsync("-ani", `${site.files}/`, "SERVER:")), /^<f\+{9} big0$/m, "but one may look");
});

test("a push that is cut makes no snapshot, and goes on when it is run again", { skip }, async (t) => {
  const site = await quick(t);
  for (let number = 0; number < 60; number++) writeFileSync(path.join(site.files, `f${number}`), randomBytes(200_000));
  const web1 = await pusher(site, "web1");
  const push = ["-a", `${site.files}/`, "SERVER:"];
  const cut = await web1.killedAt("f30", "--bwlimit=2m", ...push);
  assert.notEqual(cut.status, 0);
  assert.doesNotMatch(await ok(web1.rsync("SERVER:")), /\d{4}-\d\d-\d\dT/);
  await ok(web1.rsync(...push));
  const copy = path.join(site.folder, "copy");
  await ok(web1.rsync("-a", "SERVER:latest/", `${copy}/`));
  await runOk("diff", ["-r", site.files, copy]);
  assert.equal((await runsOf(site))[0].state, "succeeded");
});
