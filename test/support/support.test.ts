import assert from "node:assert/strict";
import { existsSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { userInfo } from "node:os";
import { test } from "node:test";
import { atEnd } from "./at-end.ts";
import type { Cleanup } from "./at-end.ts";
import { mountFileSystem } from "./file-system-image.ts";
import { createNetworkNamespace } from "./network-namespace.ts";
import { skipUnless } from "./requirements.ts";
import { run, runOk } from "./run-command.ts";
import { startSshServer } from "./ssh-server.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** A test whose end can be had at will. */
function endingTest(): { t: Cleanup; end: () => Promise<void> } {
  const hooks: (() => void | Promise<void>)[] = [];
  const t: Cleanup = { after: (hook) => void hooks.push(hook as () => void | Promise<void>) };
  return {
    t,
    end: async () => {
      for (const hook of hooks) await hook();
    },
  };
}

test("what a test set up is undone in reverse order, even where one step fails", async () => {
  const { t, end } = endingTest();
  const undone: string[] = [];
  atEnd(t, () => void undone.push("first"));
  atEnd(t, () => {
    throw new Error("refused");
  });
  atEnd(t, () => void undone.push("third"));
  await assert.rejects(end(), AggregateError);
  assert.deepEqual(undone, ["third", "first"]);
});

test("a command's output, exit code and errors come back, and its input goes in", async () => {
  const result = await run("sh", ["-c", "cat; echo bad >&2; exit 7"], { input: "given" });
  assert.deepEqual([result.status, result.stdout, result.stderr], [7, "given", "bad\n"]);
  await assert.rejects(runOk("sh", ["-c", "echo reason >&2; exit 3"]), /exit code 3\nreason/);
});

for (const type of ["ext4", "xfs", "btrfs"] as const) {
  test(
    `a small ${type} file system can be filled, and is gone after the test`,
    { skip: skipUnless({ root: true, commands: [`mkfs.${type}`, "mount"] }) },
    async () => {
      const { t, end } = endingTest();
      const folder = await mountFileSystem(t, { type, sizeMebibytes: 320 });
      const { bsize, blocks } = statfsSync(folder);
      assert.ok(bsize * blocks <= 320 * 1024 * 1024);
      await assert.rejects(runOk("dd", ["if=/dev/zero", `of=${folder}/full`, "bs=1M", "count=400"]), /No space left/);
      await end();
      assert.equal(existsSync(folder), false);
    },
  );
}

test(
  "the ssh server lets its own key in, and nothing but the forced command where one is set",
  { skip: skipUnless({ commands: ["sshd", "ssh", "ssh-keygen"] }) },
  async (t) => {
    const server = await startSshServer(t);
    const login = `${userInfo().username}@127.0.0.1`;
    assert.equal(await runOk("ssh", [...server.clientOptions, login, "echo in"]), "in\n");
    server.restrictKey('restrict,command="echo forced"');
    assert.equal(await runOk("ssh", [...server.clientOptions, login, "echo in"]), "forced\n");
  },
);

test(
  "a network namespace reaches the outside and only its own network",
  { skip: skipUnless({ root: true, commands: ["ip", "ssh", "sshd"] }) },
  async (t) => {
    const namespace = await createNetworkNamespace(t);
    const [command, ...rest] = namespace.prefix;
    const addresses = await runOk(command, [...rest, "ip", "-o", "address"]);
    assert.match(addresses, new RegExp(`inet ${namespace.address.replaceAll(".", "\\.")}/30`));
    const route = await run(command, [...rest, "ip", "route", "get", namespace.outsideAddress]);
    assert.equal(route.status, 0, route.stderr);
    const elsewhere = await run(command, [...rest, "ip", "route", "get", "192.0.2.1"]);
    assert.notEqual(elsewhere.status, 0);
  },
);

test("a temporary folder goes away with what it holds", async () => {
  const { t, end } = endingTest();
  const folder = temporaryFolder(t);
  writeFileSync(path.join(folder, "file"), "content");
  await end();
  assert.equal(existsSync(folder), false);
});
