import assert from "node:assert/strict";
import { cpSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { holdfastOk } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { describeTree } from "./describe-tree.ts";

const versions = readdirSync(import.meta.dirname).filter((name) => /^v\d+$/.test(name));

test("there is a golden repository of some format", () => {
  assert.notEqual(versions.length, 0);
});

for (const version of versions) {
  test(
    `the golden repository of format ${version} is sound and gives back what was saved`,
    { skip: skipUnless({ commands: ["getfattr", "find", "sha256sum"] }) },
    async (t) => {
      const folder = temporaryFolder(t);
      const golden = path.join(import.meta.dirname, version);
      cpSync(path.join(golden, "repository"), path.join(folder, "repository"), { recursive: true });
      const env = {
        HOLDFAST_REPOSITORY: path.join(folder, "repository"),
        HOLDFAST_PASSWORD_FILE: path.join(golden, "password"),
        HOLDFAST_CACHE_DIR: path.join(folder, "cache"),
      };
      await holdfastOk(["check", "--read-data"], { env });
      const snapshots = JSON.parse(await holdfastOk(["snapshots", "--json"], { env })) as { id: string; paths: string[] }[];
      const contents = readdirSync(golden).filter((name) => name.startsWith("contents-"));
      assert.equal(snapshots.length, contents.length);
      for (const [index, { id, paths }] of snapshots.entries()) {
        const target = path.join(folder, `restored-${index}`);
        await holdfastOk(["restore", `${id}:${paths[0]}`, "--target", target], { env });
        const expected = readFileSync(path.join(golden, contents.toSorted()[index]), "latin1");
        assert.equal(await describeTree(target), expected);
      }
    },
  );
}
