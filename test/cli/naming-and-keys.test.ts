import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { PASSWORD, workplace } from "./workplace.ts";

test("a repository is named by an option, a variable or in a file, but not twice", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const file = path.join(at.folder, "where");
  writeFileSync(file, `${at.repository}\n`);
  const without = { HOLDFAST_REPOSITORY: undefined };

  assert.equal((await at.run(["snapshots", "--repository-file", file], { env: without })).status, 0);
  assert.equal((await at.run(["snapshots"], { env: { ...without, HOLDFAST_REPOSITORY_FILE: file } })).status, 0);
  const twice = await at.run(["snapshots", "--repository-file", file]);
  assert.equal(twice.status, 1);
  assert.match(twice.stderr, /named by --repo and in a file/);
  const missing = await at.run(["snapshots", "--repository-file", `${file}-not`], { env: without });
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /could not read the repository file/);

  const other = path.join(at.folder, "other");
  const env = { HOLDFAST_FROM_PASSWORD: PASSWORD };
  await at.ok(["-r", other, "init"]);
  await at.ok(["-r", other, "copy", "--from-repository-file", file], { env });
});

test("of two keys the hinted one is tried first, and a hint that is wrong harms nothing", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  // The same password twice: which of the two keys opened the repository depends on the hint alone.
  const [{ id }] = await at.json(["key", "add", "--new-password-command", `echo '${PASSWORD}'`]);
  const current = async (...hint: string[]) => {
    const [keys] = await at.json(["key", "list", ...hint]);
    return keys.filter((key: { current: boolean }) => key.current).map((key: { id: string }) => key.id);
  };
  const all = (await at.json(["key", "list"]))[0].map((key: { id: string }) => key.id);
  for (const hint of all) assert.deepEqual(await current("--key-hint", hint.slice(0, 12)), [hint]);
  assert.equal((await current("--key-hint", "not-there")).length, 1);
  const other = all.find((one: string) => one !== id);
  assert.equal((await at.run(["key", "remove", id], { env: { HOLDFAST_KEY_HINT: other } })).status, 0);
});

test("what others have put into tags and hosts cannot drive the terminal, nor break a line of a table", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source, "--tag", "a\u001b[31m\nb", "--host", "h\u001b]0;x\u0007"]);
  for (const args of [["snapshots"], ["snapshots", "-g", "host,tags"], ["forget", "--keep-last", "1"]]) {
    const text = await at.ok(args);
    assert.ok(!text.includes("\u001b"), args.join(" "));
    assert.match(text, /a\\x1b\[31m\\nb/);
  }
  assert.deepEqual((await at.json(["snapshots"]))[0][0].tags, ["a\u001b[31m\nb"]);
});
