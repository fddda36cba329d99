import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { skipUnless } from "../../test/support/requirements.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { fastCipherOptions } from "./ssh-cipher.ts";

const hasAes = /\baes\b/.test(readFileSync("/proc/cpuinfo", "latin1"));
const skip = hasAes ? skipUnless({ commands: ["ssh"] }) : "this processor has no instructions for AES";

describe("the ciphers that ssh is told to prefer", { skip }, () => {
  function optionsWith(t: TestContext, settings: string, ...more: readonly string[]): readonly string[] {
    const config = path.join(temporaryFolder(t), "config");
    writeFileSync(config, settings);
    return fastCipherOptions("ssh", [`-F${config}`, ...more, "--", "root@example.com"]);
  }

  it("are those that processors have instructions for, before all that ssh would offer", (t) => {
    const [option, ...others] = optionsWith(t, "");
    assert.match(option, /^-oCiphers=aes256-gcm@openssh\.com,aes128-gcm@openssh\.com,chacha20-poly1305@openssh\.com,/);
    assert.deepEqual(others, []);
  });

  for (const [what, settings, more] of [
    ["settings that begin with another cipher", "Ciphers aes256-ctr,aes256-gcm@openssh.com\n", []],
    ["settings that allow ChaCha20 alone", "Ciphers chacha20-poly1305@openssh.com\n", []],
    ["settings for this host", "Host example.com\n  Ciphers aes128-ctr\n", []],
    ["arguments", "", ["-caes192-ctr"]],
  ] as const) {
    it(`are left to ${what}`, (t) => {
      assert.deepEqual(optionsWith(t, settings, ...more), []);
    });
  }

  it("are none beyond what settings allow", (t) => {
    assert.deepEqual(optionsWith(t, "Ciphers chacha20-poly1305@openssh.com,aes128-gcm@openssh.com\n"), [
      "-oCiphers=aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
    ]);
  });

  it("are left alone where ssh cannot say, or another program is called", () => {
    assert.deepEqual(fastCipherOptions("ssh", ["-oNoSuchOption=1", "--", "example.com"]), []);
    assert.deepEqual(fastCipherOptions("/nowhere/ssh", ["--", "example.com"]), []);
    assert.deepEqual(fastCipherOptions("rsh", ["example.com"]), []);
  });
});
