import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, openSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atEnd } from "../support/at-end.ts";
import type { Cleanup } from "../support/at-end.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

export const CEPH_COMMANDS: readonly string[] = ["ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool"];
export const CEPH_KEY = { accessKeyId: "ceph-key", secretAccessKey: "ceph-secret" } as const;

/** The smallest Ceph cluster there can be, in memory, with its S3 gateway, until the test ends. Returns the endpoint. */
export async function startCephGateway(t: Cleanup): Promise<string> {
  const folder = temporaryFolder(t, "holdfast-ceph-");
  const file = (name: string): string => path.join(folder, name);
  const [monitorPort, legacyPort, gatewayPort] = await freePorts(3);
  const monitor = `[v2:127.0.0.1:${monitorPort},v1:127.0.0.1:${legacyPort}]`;
  const cluster = randomUUID();
  writeFileSync(file("ceph.conf"), configuration(folder, cluster, monitor, gatewayPort));
  for (const name of ["monitor", "osd", "gateway"]) mkdirSync(file(name));
  writeFileSync(file("keyring"), "");
  const options = ["-c", file("ceph.conf")];

  await runOk("monmaptool", ["--create", "--fsid", cluster, "--addv", "a", monitor, file("map")]);
  await runOk("ceph-mon", [...options, "--mkfs", "-i", "a", "--monmap", file("map"), "--keyring", file("keyring")]);
  startDaemon(t, folder, "ceph-mon", [...options, "-i", "a", "-f"]);
  const osd = randomUUID();
  await runOk("ceph", [...options, "osd", "new", osd], { timeoutMs: 30_000 });
  await runOk("ceph-osd", [...options, "-i", "0", "--mkfs", "--osd-uuid", osd]);
  startDaemon(t, folder, "ceph-osd", [...options, "-i", "0", "-f"]);
  const { accessKeyId, secretAccessKey } = CEPH_KEY;
  const keys = [`--access-key=${accessKeyId}`, `--secret-key=${secretAccessKey}`];
  const user = ["user", "create", "--uid=holdfast", "--display-name=holdfast"];
  await runOk("radosgw-admin", [...options, ...user, ...keys], { timeoutMs: 60_000 });
  startDaemon(t, folder, "radosgw", [...options, "-n", "client.gateway", "-f"]);
  const endpoint = `http://127.0.0.1:${gatewayPort}`;
  await untilAnswering(endpoint);
  return endpoint;
}

function configuration(folder: string, cluster: string, monitor: string, gatewayPort: number): string {
  return [
    "[global]",
    `fsid = ${cluster}`,
    `mon host = ${monitor}`,
    "auth cluster required = none",
    "auth service required = none",
    "auth client required = none",
    "public addr = 127.0.0.1",
    "cluster addr = 127.0.0.1",
    "osd pool default size = 1",
    "osd pool default min size = 1",
    "osd pool default pg num = 4",
    "osd crush chooseleaf type = 0",
    "mon allow pool size one = true",
    "mon max pg per osd = 1000",
    "osd objectstore = memstore",
    "memstore device bytes = 2147483648",
    `run dir = ${folder}`,
    `admin socket = ${folder}/$name.socket`,
    `log file = ${folder}/$name.log`,
    `mon data = ${folder}/monitor`,
    `osd data = ${folder}/osd`,
    `keyring = ${folder}/keyring`,
    "[client.gateway]",
    // The gateway would insist on encryption, which there is none of without keys.
    "ms mon client mode = crc",
    `rgw data = ${folder}/gateway`,
    `rgw frontends = beast endpoint=127.0.0.1:${gatewayPort}`,
    "",
  ].join("\n");
}

function startDaemon(t: Cleanup, folder: string, command: string, args: readonly string[]): void {
  const output = openSync(path.join(folder, `${command}.output`), "w");
  const daemon: ChildProcess = spawn(command, args, { stdio: ["ignore", output, output] });
  atEnd(t, async () => {
    if (daemon.exitCode !== null || daemon.signalCode !== null) return;
    // All it holds is in memory.
    daemon.kill("SIGKILL");
    await once(daemon, "exit");
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  await Promise.all(servers.map((server) => once(server, "close")));
  return ports;
}

async function untilAnswering(endpoint: string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const answered = await fetch(endpoint).then(
      () => true,
      () => false,
    );
    if (answered) return;
    await sleep(200);
  }
  throw new Error(`nothing answers at ${endpoint}`);
}
