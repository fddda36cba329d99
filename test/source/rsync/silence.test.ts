/** Hosts that fall silent. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { openRsyncSource } from "../../../src/source/rsync/rsync-source.ts";
import { RsyncFailedError } from "../../../src/source/rsync/protocol/rsync-error.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

test("a login that never comes to its rsync is left, with its last words and what to do", async (t) => {
  const started = path.join(temporaryFolder(t), "started");
  const shell = { command: ["sh", "-c", `echo $$ > ${started}; echo "Which terminal?" >&2; exec sleep 60`] };
  const opening = openRsyncSource({
    remote: { shell, login: "root@web1" },
    paths: ["/srv"],
    greetingMs: 500,
    onProblem: () => undefined,
  });
  await assert.rejects(opening, (error: unknown) => {
    assert.ok(error instanceof RsyncFailedError);
    assert.match(error.message, /^root@web1 let no rsync speak within .* s: Which terminal\?$/);
    assert.match(error.hint ?? "", /log in there with ssh by hand/);
    return true;
  });
  const processFolder = `/proc/${readFileSync(started, "utf8").trim()}`;
  for (let tries = 0; existsSync(processFolder); tries++) {
    assert.ok(tries < 100, "its process is left over");
    await wait(20);
  }
});
