import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { skipUnless } from "../../test/support/requirements.ts";
import { run, runOk } from "../../test/support/run-command.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { planTimer } from "./timer.ts";

const request = { programFile: "/opt/holdfast/bin/holdfast", folder: "/var/lib/holdfast-agent" };
const needsSystemd = { skip: skipUnless({ commands: ["systemd-analyze"] }) };

for (const [schedule, calendar, cron] of [
  ["hourly", "*-*-* 0/1:05:00", "5 */1 * * *"],
  ["daily", "*-*-* 05:05:00", "5 5 * * *"],
  ["weekly", "Sun *-*-* 05:05:00", "5 5 * * 0"],
  ["every 4h", "*-*-* 0/4:05:00", "5 */4 * * *"],
  ["every 5h", "*-*-* 0/4:05:00", "5 */4 * * *"],
  ["every 15m", "*-*-* *:0/15:00", "*/15 * * * *"],
  ["30 3 * * 1,5", "Mon,Fri *-*-* 3:30:00", "30 3 * * 1,5"],
  ["*/20 2 1 * *", "*-*-1 2:0/20:00", "*/20 2 1 * *"],
] as const) {
  test(`"${schedule}" becomes ${calendar} of systemd, and ${cron} of cron`, async () => {
    const [, timer] = planTimer({ ...request, schedule, hasSystemd: true }, () => 5);
    assert.match(timer.content, new RegExp(`^OnCalendar=${calendar.replace(/[*/]/g, "\\$&")}$`, "m"));
    const [line] = planTimer({ ...request, schedule, hasSystemd: false }, () => 5);
    assert.ok(line.content.includes(`\n${cron} root /opt/holdfast/bin/holdfast agent run`));
  });

  test(`systemd understands what "${schedule}" becomes`, needsSystemd, async (t) => {
    const folder = temporaryFolder(t);
    await runOk("systemd-analyze", ["calendar", calendar]);
    for (const { file, content } of planTimer({ ...request, programFile: "/bin/true", schedule, hasSystemd: true })) {
      writeFileSync(path.join(folder, path.basename(file)), content);
    }
    const { stderr } = await run("systemd-analyze", ["verify", path.join(folder, "holdfast-agent.timer")]);
    assert.doesNotMatch(stderr, /holdfast-agent/);
  });
}
