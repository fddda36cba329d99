import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { skipUnless } from "../../test/support/requirements.ts";
import { runOk } from "../../test/support/run-command.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { generateSigningKey } from "./signing.ts";
import { sshKeyOf } from "../fleet/authorized-keys.ts";
import { opensshPrivateKey } from "./openssh-key.ts";

const needsSsh = { skip: skipUnless({ commands: ["ssh-keygen"] }) };

test("OpenSSH reads the private key, and finds the public one in it that we say", needsSsh, async (t) => {
  for (const comment of ["", "a", "holdfast agent of web1", "seven b"]) {
    const key = generateSigningKey();
    const file = path.join(temporaryFolder(t), "key");
    writeFileSync(file, opensshPrivateKey(key, comment), { mode: 0o600 });
    const shown = await runOk("ssh-keygen", ["-y", "-f", file]);
    assert.equal(shown.trim(), `${sshKeyOf(key.publicKey)} ${comment}`.trim());
  }
});
