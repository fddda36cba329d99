/** The commands on a repository behind an SFTP server, as people use them: each must come to its end by itself. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { skipUnless } from "../support/requirements.ts";
import { startSshServer } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { workplace } from "./workplace.ts";

const skip = skipUnless({ commands: ["ssh", "sshd"] });

test("a command that works over SFTP ends when its work is done", { skip }, async (t) => {
  const at = workplace(t);
  const ssh = await startSshServer(t);
  const programs = path.join(temporaryFolder(t), "bin");
  mkdirSync(programs);
  const words = ssh.clientOptions.filter((option) => !option.startsWith("-oPort"));
  writeFileSync(path.join(programs, "ssh"), `#!/bin/sh\nexec /usr/bin/ssh ${words.join(" ")} "$@"\n`, { mode: 0o755 });
  const options = {
    env: {
      PATH: `${programs}:${process.env.PATH}`,
      HOLDFAST_REPOSITORY: `sftp://127.0.0.1:${ssh.port}/${path.join(at.folder, "far")}`,
    },
    timeoutMs: 60_000,
  };
  await at.ok(["init"], options);
  await at.ok(["backup", at.source], options);
  await at.ok(["unlock"], options);
  assert.match(await at.ok(["check", "--read-data"], options), /no errors were found/);
  await at.ok(["restore", "latest", "--target", path.join(at.folder, "back")], options);
});
