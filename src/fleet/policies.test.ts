import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { UsageError } from "../errors.ts";
import { openDatabase } from "./database/open.ts";
import { DEFAULT_POLICY, findPolicy, savePolicy } from "./policies.ts";

test("a source with a part .. is never kept, whichever way it comes", async (t) => {
  const { database } = openDatabase(path.join(temporaryFolder(t), "fleet.sqlite"), 0);
  t.after(() => database.destroy());
  await savePolicy(database, "web", { ...DEFAULT_POLICY, sources: ["/srv/..data"] });
  for (const source of ["/srv/../etc", "/..", "/srv/.."]) {
    await assert.rejects(
      savePolicy(database, "web", { ...DEFAULT_POLICY, sources: ["/etc", source] }),
      (error) => error instanceof UsageError && error.message.includes(`"${source}" has a part ".."`),
    );
  }
  assert.deepEqual((await findPolicy(database, "web")).sources, ["/srv/..data"]);
});
