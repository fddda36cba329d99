import assert from "node:assert/strict";
import { appendFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { atEnd } from "../../test/support/at-end.ts";
import { ConnectionError, LockedError, UsageError } from "../errors.ts";
import { keyOfToken } from "../fleet/enrolment.ts";
import { sshKeyOf } from "../fleet/authorized-keys.ts";
import type { FleetStatus } from "../fleet/health.ts";
import type { Host } from "../fleet/hosts.ts";
import { keysOf, START_MS } from "../fleet/testing/fleet.ts";
import { openRepository } from "../repository/repository.ts";
import { openStorage } from "../storage/open.ts";
import { createApiClient, type ApiClient } from "./api-client.ts";
import { DEFAULT_CONFIGURATION } from "./configuration.ts";
import { startServer, type RunningServer, type ServerOptions } from "./daemon.ts";

interface TestServer {
  readonly folder: string;
  readonly api: ApiClient;
  readonly recovery: string[];
  readonly logged: string[];
  restart(): Promise<void>;
  stop(): Promise<void>;
}

async function testServer(t: TestContext, more: Partial<ServerOptions> = {}): Promise<TestServer> {
  const folder = path.join(temporaryFolder(t), "data");
  const recovery: string[] = [];
  const logged: string[] = [];
  const options: ServerOptions = {
    dataFolder: folder,
    configuration: DEFAULT_CONFIGURATION,
    program: "holdfast test",
    programFile: "/opt/hold fast/bin/holdfast",
    log: (level, message) => logged.push(`${level}: ${message}`),
    nowMs: () => START_MS,
    onRecoveryIdentity: (_account, identity) => recovery.push(identity),
    ...more,
  };
  let server: RunningServer | undefined = await startServer(options);
  const stop = async (): Promise<void> => {
    await server?.close();
    server = undefined;
  };
  atEnd(t, stop);
  return {
    folder,
    recovery,
    logged,
    api: createApiClient(server.apiSocket),
    stop,
    async restart() {
      await stop();
      server = await startServer(options);
    },
  };
}

test("a server begins on an empty folder, shows the recovery key once, and it opens the repository", async (t) => {
  const { folder, api, recovery, restart } = await testServer(t);
  assert.equal(recovery.length, 1);
  const storage = await openStorage(path.join(folder, "repositories/default"));
  const { ring } = await openRepository(storage, { identities: recovery });
  assert.ok(ring.privateKey && ring.writerSecret);
  const status = await api.call<FleetStatus>("GET", "/v1/status");
  assert.deepEqual([status.health, status.hosts.length, status.accounts[0].account], ["ok", 0, "default"]);
  await restart();
  assert.equal(recovery.length, 1);
  assert.equal(statSync(path.join(folder, "api.sock")).mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
});

test("a second server on one data folder is refused, and the first goes on", async (t) => {
  const { folder, api } = await testServer(t);
  const second = startServer({
    dataFolder: folder,
    configuration: DEFAULT_CONFIGURATION,
    program: "x",
    programFile: "/x",
    log: () => undefined,
    onRecoveryIdentity: () => undefined,
  });
  await assert.rejects(second, (error) => {
    assert.ok(error instanceof LockedError);
    assert.match(error.message, new RegExp(`process ${process.pid}`));
    return true;
  });
  assert.ok(await api.call("GET", "/v1/status"));
});

test("a host is added, enrols with its token once, and a new key under its name waits for approval", async (t) => {
  const { folder, api } = await testServer(t);
  const keysFile = path.join(folder, ".ssh/authorized_keys");
  const { token } = await api.call<{ token: string }>("POST", "/v1/hosts", { name: "web", keyMode: "write-only" });
  const oneTime = sshKeyOf(keyOfToken(token).publicKey);
  appendFileSync(keysFile, "ssh-ed25519 AAAAother of-a-person\n");
  const line = readFileSync(keysFile, "utf8")
    .split("\n")
    .find((text) => text.includes(oneTime))!;
  assert.match(
    line,
    /^restrict,expiry-time="202611020000Z",command="'\/opt\/hold fast\/bin\/holdfast' enrol --data \S+ --host web --with-token" /,
  );

  const enrolment = { host: "web", keys: keysOf("web"), withToken: true };
  const answer = await api.call<{ state: string; keyRing: string }>("POST", "/v1/enrol", enrolment);
  assert.equal(answer.state, "active");
  const ring = JSON.parse(answer.keyRing) as Record<string, unknown>;
  assert.equal(ring["privateKey"], undefined);
  assert.ok(ring["writerSecret"]);
  const after = readFileSync(keysFile, "utf8");
  assert.ok(!after.includes(oneTime));
  assert.match(after, /^ssh-ed25519 AAAAother of-a-person$/m);
  assert.match(
    after,
    /^restrict,command="\S+ \S+ serve --host web --socket \S+\/hosts\.sock" ssh-ed25519 \S+ holdfast:web$/m,
  );
  await assert.rejects(api.call("POST", "/v1/enrol", { ...enrolment, keys: keysOf("thief") }), /used already/);

  // A person's login is trusted with a new host, but not with an old name.
  const other = { host: "web", keys: keysOf("web, reinstalled"), withToken: false };
  const again = await api.call<{ state: string; keyRing?: string }>("POST", "/v1/enrol", other);
  assert.deepEqual([again.state, again.keyRing], ["pending-approval", undefined]);
  assert.deepEqual((await api.call<Host>("GET", "/v1/hosts/web")).keys, keysOf("web"));
  assert.ok(!readFileSync(keysFile, "utf8").includes(other.keys.sshKey));
  const approved = await api.call<Host>("POST", "/v1/hosts/web/approve");
  assert.deepEqual([approved.keys, approved.offeredKeys], [other.keys, undefined]);
  assert.ok(readFileSync(keysFile, "utf8").includes(other.keys.sshKey));
  // The same key again changes nothing, and brings the key ring once more.
  assert.equal((await api.call<{ state: string }>("POST", "/v1/enrol", other)).state, "active");
  await assert.rejects(api.call("POST", "/v1/enrol", { ...other, host: "mail" }), /that of the host "web"/);

  await api.call("PATCH", "/v1/hosts/web", { suspended: true });
  assert.ok(!readFileSync(keysFile, "utf8").includes(other.keys.sshKey));
  await assert.rejects(api.call("POST", "/v1/enrol", { ...other, keys: keysOf("x") }), /suspended/);
});

test("a database that was destroyed is made anew from the repository, whole", async (t) => {
  const { folder, api, stop, restart, logged } = await testServer(t);
  await api.call("POST", "/v1/policies/often", { schedule: "hourly" });
  await api.call("POST", "/v1/hosts", { name: "web", policy: "often", quota: { hardBytes: 7 } });
  await api.call("POST", "/v1/enrol", { host: "web", keys: keysOf("web"), withToken: true });
  const before = await api.call<Host>("GET", "/v1/hosts/web");
  await stop();
  for (const ending of ["-wal", "-shm"]) rmSync(path.join(folder, `holdfast.sqlite${ending}`), { force: true });
  writeFileSync(path.join(folder, "holdfast.sqlite"), "no database, but long enough to look like one".repeat(200));
  await restart();
  assert.deepEqual(await api.call<Host>("GET", "/v1/hosts/web"), before);
  assert.ok(logged.some((line) => line.startsWith("error: the database was damaged")));
  assert.ok(logged.some((line) => line.startsWith('warning: the account "default" was brought back')));
  const policies = await api.call<{ name: string; schedule: string }[]>("GET", "/v1/policies");
  assert.equal(policies.find(({ name }) => name === "often")?.schedule, "hourly");
});

test("accounts: one that the server cannot read gives hosts no right to read either", async (t) => {
  const { folder, api, restart } = await testServer(t);
  const blind = { name: "blind", keyMode: "owner", storageUrl: path.join(folder, "elsewhere") };
  const { recoveryIdentity } = await api.call<{ recoveryIdentity: string }>("POST", "/v1/accounts", blind);
  assert.match(recoveryIdentity, /^AGE-SECRET-KEY-1/);
  assert.ok(!readFileSync(path.join(folder, "accounts/blind/key-ring.json"), "utf8").includes("privateKey"));
  const reader = { name: "reader", account: "blind" };
  await assert.rejects(api.call("POST", "/v1/hosts", { ...reader, keyMode: "full" }), /does not have the key/);
  const { host } = await api.call<{ host: Host }>("POST", "/v1/hosts", reader);
  assert.equal(host.keyMode, "write-only");
  await assert.rejects(api.call("POST", "/v1/accounts", blind), UsageError);
  await api.call("PATCH", "/v1/accounts/blind", { quota: { softBytes: 5, hardBytes: 9 } });
  await restart();
  const account = await api.call<{ quota: object; keyMode: string }>("GET", "/v1/accounts/blind");
  assert.deepEqual([account.quota, account.keyMode], [{ softBytes: 5, hardBytes: 9 }, "owner"]);
});

for (const [method, where, body, expected] of [
  ["GET", "/v1/hosts/nobody", undefined, /no host "nobody"/],
  ["POST", "/v1/hosts", { name: "../../etc" }, /cannot be the name/],
  ["POST", "/v1/hosts", { name: "web", color: "red" }, /color/],
  ["POST", "/v1/hosts", { name: "web", account: "nope" }, /no account "nope"/],
  ["POST", "/v1/hosts", { name: "web", quota: { softBytes: 5, hardBytes: 3 } }, /soft quota is larger/],
  ["POST", "/v1/policies/x", { schedule: "sometimes" }, /schedule/],
  ["POST", "/v1/policies/x", { retention: { kind: "keep", rules: { daily: "many" } } }, /retention/],
  ["DELETE", "/v1/policies/default", undefined, /cannot be removed/],
  ["GET", "/v1/runs/one", undefined, /not the number of a run/],
  ["GET", "/v1/runs/999", undefined, /no run 999/],
  ["GET", "/v1/runs?limit=0", undefined, /limit/],
  ["POST", "/v1/maintenance", { kind: "explode", account: "default" }, /kind/],
  ["GET", "/v1/nothing", undefined, /no \/v1\/nothing/],
  ["GET", "/v1/hosts/%E0%A4%A", undefined, /not a name/],
] as const) {
  test(`the API refuses ${method} ${where} ${JSON.stringify(body)} with a reason`, async (t) => {
    const { api } = await testServer(t);
    await assert.rejects(api.call(method, where, body), expected);
  });
}

test("a request that is no JSON, or far too long, harms nobody", async (t) => {
  const { folder, api } = await testServer(t);
  for (const body of ["{", "x".repeat(3_000_000)]) {
    const status = await new Promise<number>((resolve) => {
      const outgoing = request(
        { socketPath: path.join(folder, "api.sock"), method: "POST", path: "/v1/hosts", agent: false },
        (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        },
      );
      outgoing.on("error", () => resolve(400));
      outgoing.end(body);
    });
    assert.equal(status, 400);
  }
  assert.ok(await api.call("GET", "/v1/status"));
});

test("without a server the client says what to do", async (t) => {
  const { api, stop, folder } = await testServer(t);
  await stop();
  assert.equal(existsSync(path.join(folder, "api.sock")), false);
  await assert.rejects(api.call("GET", "/v1/status"), ConnectionError);
});
