/** A server whose disc is full: what hosts are told, and how it comes back by itself. */
import assert from "node:assert/strict";
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { errnoOf } from "../../src/errors.ts";
import type { MaintenanceRun } from "../../src/server/maintenance-jobs.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { mountFileSystem } from "../support/file-system-image.ts";
import { holdfast } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { localSite, type LocalSite } from "./local-site.ts";

const MEBIBYTE = 1024 * 1024;

function fill(file: string): void {
  const filler = openSync(file, "w");
  for (const size of [MEBIBYTE, 4096]) {
    const zeros = Buffer.alloc(size);
    try {
      for (;;) writeSync(filler, zeros);
    } catch (error) {
      assert.equal(errnoOf(error), "ENOSPC");
    }
  }
  closeSync(filler);
}

async function retention(here: LocalSite): Promise<MaintenanceRun> {
  const list = async (): Promise<MaintenanceRun[]> =>
    JSON.parse(await here.admin("runs", "list", "--maintenance", "--json")) as MaintenanceRun[];
  const before = (await list()).length;
  await here.admin("runs", "start", "retention");
  for (;;) {
    const jobs = await list();
    if (jobs.length > before && jobs[0].state !== "running") return jobs[0];
    await wait(50);
  }
}

test(
  "a server whose disc is full refuses runs and says why, keeps its floor, and has room again when it has pruned",
  { skip: skipUnless({ root: true, commands: ["mkfs.ext4", "mount", "diff"] }) },
  async (t) => {
    const disc = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 192 });
    const here = await localSite(t, path.join(disc, "data"));
    const top = path.join(temporaryFolder(t), "files");
    mkdirSync(top);
    const { agentFolder } = await here.enrol("web1", top);
    await here.admin("policy", "edit", "policy-web1", "--floor-newest", "2", "--floor-days", "0");
    const save = () => holdfast(["agent", "run", "--agent-folder", agentFolder, "--json"]);
    const snapshots = async (): Promise<{ id: string }[]> =>
      JSON.parse((await holdfast(["agent", "snapshots", "--agent-folder", agentFolder, "--json"])).stdout) as never;
    for (let number = 0; number < 4; number++) {
      writeFileSync(path.join(top, "data"), scrambledBytes(`${number}`, 20 * MEBIBYTE));
      const { status, stderr } = await save();
      assert.equal(status, 0, stderr);
    }
    const standing = await snapshots();
    assert.equal(standing.length, 4);

    // Not a block is left, and not for the server's own notes either.
    const filler = path.join(disc, "filler");
    fill(filler);
    fill(`${filler}-2`);
    assert.ok(statfsSync(disc).bavail * 4096 < 64 * 1024);
    writeFileSync(path.join(top, "data"), scrambledBytes("too much", 20 * MEBIBYTE));
    const refused = await save();
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /the server's disc is full/);
    assert.doesNotMatch(refused.stderr, /mistake/);
    assert.deepEqual(await snapshots(), standing);
    assert.match(await statusOf(here), /full|space/);

    // Nothing but pruning makes room.
    const job = await retention(here);
    assert.match(job.error ?? "", /protected by the floor: add space/);
    assert.ok(statfsSync(disc).bavail * 4096 > 20 * MEBIBYTE, `${statfsSync(disc).bavail * 4096} bytes are free`);
    const left = (await snapshots()).map(({ id }) => id);
    for (const { id } of standing.slice(-2)) assert.ok(left.includes(id), "the floor is kept");

    writeFileSync(path.join(top, "data"), scrambledBytes("not too much", 8 * MEBIBYTE));
    const saved = await save();
    assert.equal(saved.status, 0, saved.stderr);
    const target = path.join(path.dirname(top), "restored");
    const restoring = ["agent", "restore", `latest:${top}`, "--target", target, "--agent-folder", agentFolder];
    const restored = await holdfast(restoring);
    assert.equal(restored.status, 0, restored.stderr);
    await runOk("diff", ["-r", top, target]);
    rmSync(filler);
    rmSync(`${filler}-2`);
    await here.kill("SIGTERM");
  },
);

/** Ends with 3 where something is wrong. */
async function statusOf(here: LocalSite): Promise<string> {
  return (await holdfast(["status", "--data", here.data])).stdout;
}
