import assert from "node:assert/strict";
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { assertSameTree } from "../support/compare-trees.ts";
import { newHoldfast } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const PLACES = 6;
/** Younger files are read again in any case. */
const RACY_MS = 2100;

test(
  "a damaged log of the last run never makes its way into a snapshot",
  { skip: skipUnless({ commands: ["rsync", "getfattr"] }) },
  async (t) => {
    const folder = temporaryFolder(t);
    const holdfast = await newHoldfast(t, { place: folder });
    const source = path.join(folder, "source");
    mkdirSync(source);
    for (let number = 0; number < 30; number++)
      writeFileSync(path.join(source, `file-${number}`), `content ${number}\n`);
    await runOk("find", [source, "-exec", "touch", "-d", "2026-01-01", "{}", "+"]);
    await sleep(RACY_MS);
    await holdfast.ok(["backup", source]);
    const [log, ...others] = globSync(path.join(folder, "cache/**/walk/*"));
    assert.equal(others.length, 0);
    const whole = readFileSync(log);

    for (let place = 0; place < PLACES; place++) {
      const damaged = Buffer.from(whole);
      damaged[Math.floor(((place + 0.5) * whole.length) / PLACES)] ^= 0x10;
      writeFileSync(log, damaged);
      await holdfast.ok(["backup", source]);
      const target = path.join(folder, `restored-${place}`);
      await holdfast.ok(["restore", `latest:${source}`, "--target", target]);
      await assertSameTree(source, target);
    }
  },
);
