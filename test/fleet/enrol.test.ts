/** How a host comes to a server over ssh, and what happens where something about that is wrong. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Cleanup } from "../support/at-end.ts";
import { holdfast } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import type { CommandResult } from "../support/run-command.ts";
import { startSshServer } from "../support/ssh-server.ts";
import { ownServer } from "./own-server.ts";

const needsSsh = { skip: skipUnless({ commands: ["ssh", "sshd"] }) };

async function site(t: Cleanup) {
  const ssh = await startSshServer(t);
  const keys = path.join(path.dirname(ssh.identityFile), "authorized_keys");
  const server = await ownServer(t, `[ssh]\nauthorized_keys = "${keys}"\n`);
  const files = path.join(server.folder, "files");
  writeFileSync(files, "some text");
  await server.admin("policy", "add", "small", "--source", files, "--minimum-interval", "0");
  const login = `${process.env.USER ?? "root"}@127.0.0.1:${ssh.port}`;
  async function token(...command: string[]): Promise<string> {
    return (JSON.parse(await server.admin("host", ...command, "--json")) as { token: string }).token;
  }
  const agentIn =
    (folder: string) =>
    (...args: string[]): Promise<CommandResult> =>
      holdfast(["agent", ...args, "--agent-folder", folder]);
  function setup(agent: ReturnType<typeof agentIn>, held: string, ...more: string[]): Promise<CommandResult> {
    return agent("setup", login, "--token", held, "--without-timer", ...more);
  }
  return { server, token, agentIn, setup, folder: server.folder };
}

test("a setup that fails changes nothing of one that was good, and says what to do", needsSsh, async (t) => {
  const { token, agentIn, setup, folder } = await site(t);
  const home = path.join(folder, 'a %h folder "of" mine');
  const agent = agentIn(home);
  const first = await token("add", "web1", "--policy", "small");
  const early = await agent("run");
  assert.match(early.stderr, /this host is not set up/);
  assert.ok(!existsSync(home));
  const misnamed = await setup(agent, first, "--name", "web2");
  assert.match(misnamed.stderr, /this token is for the host "web1", not for "web2"/);
  const good = await setup(agent, first);
  assert.equal(good.status, 0, good.stderr);
  assert.match(good.stderr + good.stdout, /This host is "web1"/);

  const used = await setup(agent, first);
  assert.match(used.stderr, /Permission denied.*\n.*host token/);
  const pinned = readFileSync(path.join(home, "known_hosts"), "utf8");
  const next = await token("token", "web1");
  const other = `ssh-ed25519 ${Buffer.concat([
    Buffer.from("\0\0\0\x0bssh-ed25519\0\0\0 ", "latin1"),
    Buffer.alloc(32, 7),
  ]).toString("base64")}`;
  const wrongKey = await setup(agent, next, "--host-key", other);
  assert.match(wrongKey.stderr, /shows another SSH host key than the one given\n.*--host-key/);
  assert.equal(readFileSync(path.join(home, "known_hosts"), "utf8"), pinned);
  writeFileSync(path.join(home, "known_hosts"), `${pinned.split(" ")[0]} ${other}\n`);
  assert.match((await agent("run")).stderr, /Host key verification failed.*\n.*--host-key/);
  assert.match((await setup(agent, next)).stderr, /another SSH host key than the one that .*known_hosts pins/);
  const [, ...key] = pinned.trim().split(" ");
  assert.equal((await setup(agent, next, "--host-key", key.join(" "))).status, 0);
  const saved = await agent("run");
  assert.equal(saved.status, 0, saved.stderr);
});

test("a reinstalled host comes back with one token, which holds for no other meanwhile", needsSsh, async (t) => {
  const { server, token, agentIn, setup, folder } = await site(t);
  const home = path.join(folder, "agent");
  const agent = agentIn(home);
  assert.equal((await setup(agent, await token("add", "web1", "--policy", "small"))).status, 0);
  renameSync(home, `${home}.lost`);
  const again = await token("token", "web1");
  assert.match((await setup(agent, again)).stdout, /host approve web1/);
  assert.match((await agent("run")).stderr, /has offered its keys.*\n.*approved/);
  const stranger = agentIn(path.join(folder, "stranger"));
  assert.match((await setup(stranger, again)).stderr, /was used already/);
  await server.admin("host", "approve", "web1");
  const back = await setup(agent, again);
  assert.equal(back.status, 0, back.stderr);
  assert.equal((await agent("run")).status, 0);
  assert.match((await setup(agent, again)).stderr, /Permission denied/);
});

test("what names nothing is not looked for, nor proven", async (t) => {
  const { call } = await ownServer(t);
  const drill = (account: string, host: string) => call("POST", "/v1/maintenance", { kind: "drill", account, host });
  await assert.rejects(call("GET", "/v1/runs?host=nobody"), /there is no host "nobody"/);
  await assert.rejects(drill("default", "nobody"), /no snapshot of a host "nobody"/);
  await call("POST", "/v1/accounts", { name: "blind", keyMode: "owner" });
  await call("POST", "/v1/hosts", { name: "web1", account: "blind" });
  await assert.rejects(drill("blind", "web1"), /cannot read the account/);
  await assert.rejects(call("PATCH", "/v1/hosts/web1", { keyMode: "full" }), /does not have the key/);
});
