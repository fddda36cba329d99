/** A host that was broken into tries to push out good snapshots, its own and others', by storing far more than ever. */
import assert from "node:assert/strict";
import { mkdirSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { Run } from "../../src/fleet/runs.ts";
import type { MaintenanceRun } from "../../src/server/maintenance-jobs.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { mountFileSystem } from "../support/file-system-image.ts";
import { holdfast } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { localSite } from "./local-site.ts";

const MEBIBYTE = 1024 * 1024;

test(
  "what a host stores beyond all that is usual pushes no good snapshot out, and is the first to go",
  { skip: skipUnless({ root: true, commands: ["mkfs.ext4", "mount"] }) },
  async (t) => {
    const disc = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 128 });
    const here = await localSite(t, path.join(disc, "data"));
    const scratch = temporaryFolder(t);
    const [good, evil] = await Promise.all(["good", "evil"].map((name) => newHost(name)));

    async function newHost(name: string) {
      const top = path.join(scratch, name);
      mkdirSync(top);
      const { agentFolder } = await here.enrol(name, top);
      await here.admin("policy", "edit", `policy-${name}`, "--floor-newest", "1", "--floor-days", "0");
      let saves = 0;
      return {
        async save(mebibytes: number) {
          writeFileSync(path.join(top, "data"), scrambledBytes(`${name}/${saves++}`, mebibytes * MEBIBYTE));
          return holdfast(["agent", "run", "--agent-folder", agentFolder, "--json"]);
        },
        async snapshots(): Promise<string[]> {
          const { stdout } = await holdfast(["agent", "snapshots", "--agent-folder", agentFolder, "--json"]);
          return (JSON.parse(stdout) as { id: string }[]).map(({ id }) => id);
        },
      };
    }

    for (let run = 0; run < 3; run++) {
      for (const host of [good, evil]) {
        const { status, stderr } = await host.save(1);
        assert.equal(status, 0, stderr);
      }
    }
    const [goodBefore, evilBefore] = [await good.snapshots(), await evil.snapshots()];
    // There is room for it without pruning.
    const sudden = await evil.save(40);
    assert.equal(sudden.status, 0, sudden.stderr);
    const [latest] = JSON.parse(await here.admin("runs", "list", "--host", "evil", "--json")) as Run[];
    assert.equal(latest.suddenGrowth, true);
    // For this there is not.
    const more = await evil.save(45);
    assert.equal(more.status, 1);
    assert.match(more.stderr, /stores far more than it ever did|disc is full/);
    assert.equal((await good.save(1)).status, 0, "others go on");
    const goodNow = await good.snapshots();

    const free = (): number => statfsSync(disc).bavail * 4096;
    writeFileSync(path.join(disc, "filler"), Buffer.alloc(free() - 3 * MEBIBYTE));
    await here.admin("runs", "start", "retention");
    let jobs: MaintenanceRun[] = [];
    while (jobs.length === 0 || jobs[0].state === "running") {
      jobs = JSON.parse(await here.admin("runs", "list", "--maintenance", "--json")) as MaintenanceRun[];
      await wait(50);
    }
    assert.equal(jobs[0].error ?? "", "");
    assert.ok(goodBefore.every((id) => goodNow.includes(id)));
    assert.deepEqual(await good.snapshots(), goodNow, "nothing of another host's was given up for it");
    assert.deepEqual(await evil.snapshots(), evilBefore, "what was stored suddenly has gone, and nothing else");
    assert.ok(free() > 30 * MEBIBYTE, `${free()} bytes are free`);
  },
);
