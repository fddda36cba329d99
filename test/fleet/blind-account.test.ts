/** An account whose private key only its owner has: the server keeps, and reads nothing; the owner sees everything. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { CreatedAccount } from "../../src/fleet/accounts.ts";
import type { Host } from "../../src/fleet/hosts.ts";
import { holdfast } from "../support/holdfast.ts";
import { runOk } from "../support/run-command.ts";
import { ownHost, ownServer } from "./own-server.ts";

test("the owner lists and restores every host of the account with the recovery key, and nobody else does", async (t) => {
  const server = await ownServer(t);
  const created = await server.call<CreatedAccount>("POST", "/v1/accounts", { name: "customer", keyMode: "owner" });
  const keyFile = path.join(server.folder, "recovery.txt");
  writeFileSync(keyFile, `# kept away from the server\n${created.recoveryIdentity}\n`);

  const full = { name: "web1", account: "customer", keyMode: "full" };
  await assert.rejects(server.call("POST", "/v1/hosts", full), /does not have the key/);
  for (const name of ["web1", "db1"]) {
    const sources = [path.join(server.folder, `files-of-${name}`)];
    await server.call("POST", `/v1/policies/${name}`, { sources, minimumIntervalMinutes: 0 });
    await server.call("POST", "/v1/hosts", { name, policy: name, account: "customer" });
  }
  const { keyMode } = await server.call<Host>("GET", "/v1/hosts/web1");
  assert.equal(keyMode, "write-only");
  const web = await ownHost(server, "web1", { a: "of web1" });
  const db = await ownHost(server, "db1", { b: "of db1" });
  await web.agentOk("run");
  await db.agentOk("run");
  // The host itself reads nothing back, not even its own.
  assert.notEqual((await web.agent("restore", "latest", "--target", path.join(server.folder, "no"))).status, 0);

  const env = { HOLDFAST_DATA: server.data };
  const owner = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await holdfast(["-r", "account:customer", "--identity-file", keyFile, ...args], {
      env,
    });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const seen = JSON.parse(await owner("snapshots", "--json")) as { hostname: string }[];
  assert.deepEqual(seen.map(({ hostname }) => hostname).toSorted(), ["db1", "web1"]);
  for (const { name, files } of [web, db]) {
    const target = path.join(server.folder, `restored-${name}`);
    await owner("restore", `latest:${files}`, "--host", name, "--target", target);
    await runOk("diff", ["-r", files, target]);
  }
  await owner("check", "--read-data");

  // Only to read: what goes, the server decides.
  const forgetting = await holdfast(
    ["-r", "account:customer", "--identity-file", keyFile, "forget", "--keep-last", "1", "--group-by", ""],
    { env },
  );
  assert.notEqual(forgetting.status, 0);
  assert.equal((JSON.parse(await owner("snapshots", "--json")) as unknown[]).length, 2);
  // With what the server has, nothing is opened; and there is no such account elsewhere.
  const ring = path.join(server.data, "accounts/customer/key-ring.json");
  assert.notEqual(
    (await holdfast(["-r", "account:customer", "--identity-file", ring, "snapshots"], { env })).status,
    0,
  );
  const keyless = await holdfast(["-r", "account:customer", "snapshots"], { env });
  assert.match(keyless.stderr, /only its owner can[^]*--identity-file/);
  const unknown = await holdfast(["-r", "account:nobody", "--identity-file", keyFile, "snapshots"], { env });
  assert.match(unknown.stderr, /no server of this machine has an account "nobody"/);
});
