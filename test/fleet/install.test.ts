/** `holdfast server install` really done, where it disturbs nobody: in a mount namespace. */
import assert from "node:assert/strict";
import { test } from "node:test";
import path from "node:path";
import { checkoutFolder } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { run } from "../support/run-command.ts";
import { freePort } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const needs = {
  skip: skipUnless({
    root: true,
    commands: ["unshare", "systemd-analyze", "systemctl", "useradd", "runuser", "setpriv", "sshd", "ssh"],
  }),
};

test("server install sets up a user and a unit that serve hosts through OpenSSH and nothing else", needs, async (t) => {
  const port = String(await freePort());
  const script = path.join(import.meta.dirname, "install-in-namespace.sh");
  const args = ["--mount", "--fork", "--kill-child", script, checkoutFolder, temporaryFolder(t), port];
  const { status, stdout, stderr } = await run("unshare", args);
  assert.equal(status, 0, stdout + stderr);
  const steps = new Map(
    stdout
      .split(/^== /m)
      .slice(1)
      .map((step) => [step.split("\n", 1)[0], step.slice(step.indexOf("\n") + 1).trim()]),
  );
  assert.equal(steps.get("unit"), "enabled");
  assert.equal(steps.get("user"), "holdfast\nholdfast 700");
  assert.equal(steps.get("server"), "holdfast\n/var/lib/holdfast/recovery-key-default.txt");
  assert.match(steps.get("host") ?? "", /snapshot [0-9a-f]{8} saved: 1 files?/);
  const refused = steps.get("hostile")?.split("\n") ?? [];
  assert.equal(refused.length, 3);
  for (const line of refused) assert.match(line, /this key is for rsync and Holdfast's agent alone/);
  assert.match(
    steps.get("adopt") ?? "",
    /^Fatal: a server \(process \d+\) already works on \/var\/lib\/holdfast\n.*\nThe account "default" is back: 1 hosts, 1 snapshots\.\n.*\nsnapshot [0-9a-f]{8} saved/,
  );
  assert.ok(steps.has("done"));
});
