import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRandom } from "../../src/storage/testing/random.ts";
import { allSchedules, emptyTally, prepare, SCENARIOS, someSchedule, withoutProtection } from "./preemptions.ts";
import type { Scenario, Tally } from "./preemptions.ts";

/** `npm run proof:preemptions` plays as many as there is time for, or all. */
const SCHEDULES = 24;

async function playSome(scenario: Scenario, schedules: number): Promise<Tally> {
  const tally = emptyTally();
  const stage = await prepare(scenario, tally);
  const random = seededRandom(11);
  const all = [...allSchedules(stage.lengths)];
  for (let turn = 0; turn < schedules; turn++) {
    await stage.play(turn % 2 === 0 ? random.pick(all) : someSchedule(stage.lengths, random));
  }
  return tally;
}

describe("two or three on one repository, switched between at chosen calls", () => {
  for (const scenario of SCENARIOS) {
    it(`lose no acknowledged snapshot: ${scenario.name}`, async () => {
      assert.equal((await playSome(scenario, SCHEDULES)).schedules, SCHEDULES);
    });
  }

  it("would be found to lose snapshots if backups left no note and did not look for what is condemned", async () => {
    await assert.rejects(playSome(withoutProtection, 2000), /blob|pack/);
  });
});
