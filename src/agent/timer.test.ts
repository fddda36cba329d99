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

test("the agent looks every five minutes, at another moment on each host", () => {
  const [service, timer] = planTimer({ ...request, hasSystemd: true }, (below) => below - 1);
  assert.match(timer.content, /^OnCalendar=\*:4\/5:59$/m);
  assert.match(service.content, /^ExecStart=\/opt\/holdfast\/bin\/holdfast agent run --if-due .* --quiet$/m);
  const [line] = planTimer({ ...request, hasSystemd: false }, () => 2);
  assert.match(line.content, /\n2-59\/5 \* \* \* \* root \/opt\/holdfast\/bin\/holdfast agent run --if-due/);
});

test("folders with blanks, quotes and percent signs are quoted as systemd and cron want it", () => {
  const odd = { ...request, folder: `/srv/my "agent" $x 100%` };
  const [service] = planTimer({ ...odd, hasSystemd: true }, () => 1);
  assert.match(service.content, /^ExecStart=\S+ agent run --if-due --agent-folder (.*) --quiet$/m);
  assert.ok(
    service.content.includes(String.raw`--agent-folder "/srv/my \"agent\" $$x 100%%" --quiet`),
    service.content,
  );
  const [line] = planTimer({ ...odd, hasSystemd: false }, () => 1);
  assert.ok(line.content.includes(String.raw`--agent-folder '/srv/my "agent" $x 100\%' --quiet`), line.content);
});

test("systemd understands the timer", needsSystemd, async (t) => {
  const folder = temporaryFolder(t);
  const files = planTimer({ ...request, programFile: "/bin/true", hasSystemd: true });
  for (const { file, content } of files) writeFileSync(path.join(folder, path.basename(file)), content);
  await runOk("systemd-analyze", ["calendar", /^OnCalendar=(.*)$/m.exec(files[1].content)![1]]);
  const { stderr } = await run("systemd-analyze", ["verify", path.join(folder, "holdfast-agent.timer")]);
  assert.doesNotMatch(stderr, /holdfast-agent/);
});
