import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { openSshChannel, type ServerPlace } from "../../src/agent/ssh-channel.ts";
import { openRemoteStorage } from "../../src/agent/remote-storage.ts";
import { BusyError, ConnectionError, RefusedError } from "../../src/errors.ts";
import { openRepository } from "../../src/repository/repository.ts";
import { type HostListenerOptions, listenForHosts } from "../../src/server/host-listener.ts";
import { createLocalStorage } from "../../src/storage/local.ts";
import type { ByteChannel } from "../../src/wire/connection.ts";
import type { Cleanup } from "../support/at-end.ts";
import { atEnd } from "../support/at-end.ts";
import { checkoutFolder } from "../support/holdfast.ts";
import { readEverything } from "../support/library-repository.ts";
import { skipUnless } from "../support/requirements.ts";
import { run } from "../support/run-command.ts";
import { startSshServer, type SshServer } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { createTestFleet, runBackup, type TestFleet } from "./test-fleet.ts";

const needsSsh = { skip: skipUnless({ commands: ["ssh", "sshd"] }) };

/** A server's daemon behind sshd, with a key for one host. */
async function startServer(
  t: Cleanup,
  host: string,
  more: Partial<HostListenerOptions> = {},
): Promise<{ fleet: TestFleet; socketPath: string; ssh: SshServer; place: ServerPlace }> {
  const folder = temporaryFolder(t);
  const fleet = await createTestFleet(t, { storage: await createLocalStorage(path.join(folder, "repository")) });
  const socketPath = path.join(folder, "run", "hosts.sock");
  const listener = await listenForHosts({ ...fleet.options, socketPath, ...more });
  atEnd(t, () => listener.close());
  const ssh = await startSshServer(t);
  return { fleet, socketPath, ssh, place: letIn(ssh, host, socketPath) };
}

function letIn(ssh: SshServer, host: string, socketPath: string): ServerPlace {
  ssh.restrictKey(`restrict,command="${checkoutFolder}/bin/holdfast serve --host ${host} --socket ${socketPath}"`);
  const user = process.env.USER ?? "root";
  const { port, identityFile, knownHostsFile } = ssh;
  return { host: "127.0.0.1", port, user, identityFile, knownHostsFile };
}

function folderOfFiles(t: Cleanup, files: number, bytesEach: number): string {
  const folder = temporaryFolder(t);
  for (let number = 0; number < files; number++) {
    mkdirSync(path.join(folder, `d${number % 7}`), { recursive: true });
    writeFileSync(path.join(folder, `d${number % 7}`, `f${number}`), randomBytes(bytesEach));
  }
  return folder;
}

test(
  "saves two hosts at once through OpenSSH, over connections that are killed, and both come back",
  needsSsh,
  async (t) => {
    const { fleet, socketPath, place } = await startServer(t, "web1");
    const places = { web1: place, db1: letIn(await startSshServer(t), "db1", socketPath) };
    const channels: ByteChannel[] = [];
    let killed = 0;
    const connect = (host: string): ByteChannel => {
      const channel = openSshChannel(places[host as keyof typeof places]);
      channels.push(channel);
      return channel;
    };
    // In the middle of what they carry, however long it takes to connect.
    const killing = setInterval(() => {
      const busy = channels.findIndex(({ output }) => (output as Socket).bytesWritten > 3_000_000);
      if (busy < 0 || killed >= 5) return;
      channels.splice(busy, 1)[0].destroy();
      killed++;
    }, 10);
    t.after(() => clearInterval(killing));
    const hosts = [fleet.addHost("web1"), fleet.addHost("db1")];
    const folders = [folderOfFiles(t, 40, 700_000), folderOfFiles(t, 4000, 3000)];
    const retryDelaysMs = Array.from({ length: 50 }, () => 50);
    const runs = await Promise.all(
      hosts.map((host, number) =>
        runBackup({ owner: fleet.owner, connect }, host, folders[number], {
          retryDelaysMs,
          uploadBytesPerSecond: 12 * 1024 * 1024,
        }),
      ),
    );
    clearInterval(killing);
    assert.equal(killed, 5);
    assert.equal(runs[0].remote.traffic.connections + runs[1].remote.traffic.connections, 7);

    const whole = await readEverything(await openRepository(fleet.storage, { ring: fleet.owner.ring }));
    assert.equal(whole.size, 2);
    for (const [number, host] of hosts.entries()) {
      const remote = await openRemoteStorage({
        connect: () => connect(host.name),
        location: "server",
        purpose: "read",
        program: "test",
      });
      const seen = await readEverything(await openRepository(remote, { ring: fleet.owner.ring }));
      assert.deepEqual([...seen], [[runs[number].result.snapshotId, whole.get(runs[number].result.snapshotId)]]);
      const target = temporaryFolder(t);
      await restoreFolder(fleet, runs[number].result.snapshotId, target);
      const difference = await run("diff", ["-r", folders[number], path.join(target, folders[number])]);
      assert.equal(difference.status, 0, difference.stdout);
      await remote.close();
    }
    assert.deepEqual(fleet.faults, []);
  },
);

/** By the command, with the recovery passphrase, straight from the server's storage. */
async function restoreFolder(fleet: TestFleet, snapshot: string, target: string): Promise<void> {
  const restored = await run(
    path.join(checkoutFolder, "bin/holdfast"),
    ["-r", fleet.storage.location, "restore", snapshot, "--target", target],
    { env: { HOLDFAST_PASSWORD: "correct horse battery staple" } },
  );
  assert.equal(restored.status, 0, restored.stderr);
}

test("gives a host's key neither shell nor command, neither files nor forwarding", needsSsh, async (t) => {
  const { ssh, place } = await startServer(t, "web1");
  const options = [...ssh.clientOptions, "-oConnectTimeout=5"];
  for (const command of [[], ["id"], ["cat /etc/passwd"], ["holdfast-wire; id"], ["holdfast serve --host db1"]]) {
    const result = await run("ssh", [...options, "-T", place.host, ...command], { input: "id\n" });
    assert.equal(result.status, 1, result.stderr);
    assert.match(result.stderr, /this key is for rsync and Holdfast's agent alone/);
    assert.equal(result.stdout, "");
  }
  const sftp = await run("sftp", [...options, "-b", "-", place.host], { input: "ls /\n" });
  assert.notEqual(sftp.status, 0);
  assert.equal(sftp.stdout.replace("sftp> ls /", "").trim(), "");
  const forwarded = await run("ssh", [...options, "-W", `127.0.0.1:${ssh.port}`, place.host], { input: "" });
  assert.notEqual(forwarded.status, 0);
  assert.match(forwarded.stderr, /administratively prohibited|forwarding failed/);
  const reverse = await run("ssh", [...options, "-N", "-oExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", place.host]);
  assert.notEqual(reverse.status, 0);
});

test("tells why the server is not to be had", needsSsh, async (t) => {
  const { fleet, ssh, place } = await startServer(t, "web1");
  fleet.addHost("web1");
  const open = (to: ServerPlace) =>
    openRemoteStorage({
      connect: () => openSshChannel(to),
      location: "server",
      purpose: "backup",
      program: "test",
      retryDelaysMs: [],
    });
  await assert.rejects(open({ ...place, port: 1 }), (error: ConnectionError) => {
    assert.ok(error instanceof ConnectionError);
    assert.match(error.message, /Connection refused/);
    return true;
  });
  const emptyFile = path.join(temporaryFolder(t), "known_hosts");
  writeFileSync(emptyFile, "");
  await assert.rejects(open({ ...place, knownHostsFile: emptyFile }), (error: ConnectionError) => {
    assert.match(error.hint ?? "", /another key than the one it had/);
    return true;
  });
  await assert.rejects(open(letIn(ssh, "web1", "/nonexistent/socket")), /the server does not answer/);
  ssh.restrictKey('restrict,command="echo Welcome!"');
  await assert.rejects(open(place), /does not begin as Holdfast does, but with "Welcome/);
});

test("lets nobody but the server's own user at its socket", needsSsh, async (t) => {
  const { socketPath } = await startServer(t, "web1");
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  assert.equal(statSync(path.dirname(socketPath)).mode & 0o777, 0o700);
});

test("does not take a host's word for who it is, and knows only hosts that were added", needsSsh, async (t) => {
  const { place } = await startServer(t, "stranger");
  await assert.rejects(
    openRemoteStorage({
      connect: () => openSshChannel(place),
      location: "server",
      purpose: "read",
      program: "test",
      retryDelaysMs: [],
    }),
    (error: RefusedError) => error instanceof RefusedError && error.message === "there is no host stranger",
  );
});

test("lets a host have a few connections and no more", needsSsh, async (t) => {
  const { fleet, place } = await startServer(t, "web1", { maximumPerHost: 2 });
  fleet.addHost("web1");
  const open = () =>
    openRemoteStorage({
      connect: () => openSshChannel(place),
      location: "server",
      purpose: "read",
      program: "test",
      retryDelaysMs: [],
    });
  const opened = [await open(), await open()];
  await assert.rejects(open(), BusyError);
  for (const storage of opened) await storage.close();
});
