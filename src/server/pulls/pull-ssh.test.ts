import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../errors.ts";
import { fingerprintOf, lastLine, parseLogin, printable } from "./pull-ssh.ts";

test("takes a login as ssh does, and nothing that could be more than that", () => {
  const good = {
    "root@web1": "root@web1",
    "web1:": "web1",
    "a.b@10.0.0.1": "a.b@10.0.0.1",
    "root@[::1]": "root@::1",
    "[fe80::1%eth0]": "fe80::1%eth0",
  };
  for (const [given, login] of Object.entries(good)) {
    assert.equal(parseLogin(given), login);
    assert.equal(parseLogin(login), login, "as it was kept, when it is changed later");
  }
  const bad = [
    "",
    "-oProxyCommand=id",
    "root@-v",
    "a b",
    "root@web1;id",
    "root@web1:/etc",
    "$(id)@web1",
    "a@b@c\n",
    ":::",
    "-v@::1",
    "root@fe80::1%-v;id",
  ];
  for (const given of bad) assert.throws(() => parseLogin(given), UsageError, given);
});

test("shows a key's fingerprint as ssh-keygen does", () => {
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBLxytC6rLP+y33h8wAj3pW0XvNFg26CRx4xX0t/nn0r";
  assert.equal(fingerprintOf(key), "SHA256:z4v7c2j8bNXWCcWPj60bnRoXtpjmAQsG9DNeBySSZuM");
});

test("what a host says is shown without what drives a terminal, and the line that matters of it", () => {
  assert.equal(printable("a\u001b[31mb\u202ec\nd"), "a?[31mb?c\nd");
  assert.equal(
    lastLine("Welcome!\nPermission denied (publickey).\n\n** WARNING: something about quantum computers\n"),
    "Permission denied (publickey).",
  );
});
