import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { DamagedError, UsageError } from "../../src/errors.ts";
import { type RestorePlace, restorePlace } from "./restore-place.ts";

async function restoredPlace(
  t: Parameters<typeof restorePlace>[0],
): Promise<RestorePlace & { in(name: string): string }> {
  const place = await restorePlace(t);
  mkdirSync(path.join(place.source, "folder/inner"), { recursive: true });
  for (const name of ["a", "folder/b", "folder/inner/c"]) writeFileSync(path.join(place.source, name), name);
  await place.save();
  await place.restore();
  return { ...place, in: (name) => path.join(place.target, name) };
}

function addExtras(place: { in(name: string): string }): void {
  mkdirSync(place.in("extra/deep"), { recursive: true });
  for (const name of ["extra/deep/x", "extra.log", "folder/extra.txt", "folder/inner/extra.log"]) {
    writeFileSync(place.in(name), "x");
  }
  chmodSync(place.in("extra/deep"), 0);
}

test("delete removes what the snapshot does not have, and only that", async (t) => {
  const place = await restoredPlace(t);
  addExtras(place);
  const result = await place.restore({ deleteExtra: true });
  assert.deepEqual(result.told, []);
  assert.deepEqual(
    result.actions.filter((action) => action.startsWith("deleted")),
    [
      "deleted extra",
      "deleted extra.log",
      "deleted extra/deep",
      "deleted extra/deep/x",
      "deleted folder/extra.txt",
      "deleted folder/inner/extra.log",
    ],
  );
  assert.equal(result.deleted, 6);
  assert.deepEqual((readdirSync(place.target, { recursive: true }) as string[]).toSorted(), [
    "a",
    "folder",
    "folder/b",
    "folder/inner",
    "folder/inner/c",
  ]);
});

test("without delete nothing is removed", async (t) => {
  const place = await restoredPlace(t);
  addExtras(place);
  assert.equal((await place.restore()).deleted, 0);
  assert.ok(existsSync(place.in("folder/inner/extra.log")));
});

test("delete leaves what is excluded, and everything in folders that are", async (t) => {
  const place = await restoredPlace(t);
  addExtras(place);
  const result = await place.restore({ deleteExtra: true, patterns: { exclude: ["*.log", "/extra"] } });
  assert.deepEqual(
    result.actions.filter((action) => action.startsWith("deleted")),
    ["deleted folder/extra.txt"],
  );
});

test("delete with include patterns removes only what they match", async (t) => {
  const place = await restoredPlace(t);
  addExtras(place);
  const result = await place.restore({ deleteExtra: true, patterns: { include: ["/folder/inner"] } });
  assert.deepEqual(result.actions, ["deleted folder/inner/extra.log", "unchanged folder/inner/c"]);
  assert.ok(existsSync(place.in("extra.log")));
});

test("a dry run tells what delete would remove, and removes nothing", async (t) => {
  const place = await restoredPlace(t);
  addExtras(place);
  const result = await place.restore({ deleteExtra: true, dryRun: true });
  assert.equal(result.deleted, 4);
  assert.ok(existsSync(place.in("extra.log")) && existsSync(place.in("extra")));
});

test("what a folder that cannot be listed whole may have had is not deleted", async (t) => {
  const place = await restoredPlace(t);
  addExtras(place);
  const result = await place.restore({
    deleteExtra: true,
    changeView: (view) => ({
      ...view,
      async *listEncoded(directory) {
        if (directory.name === "folder") throw new DamagedError("the list breaks off");
        yield* view.listEncoded(directory);
      },
    }),
  });
  assert.deepEqual(result.told, ["folder: the list breaks off"]);
  assert.ok(existsSync(place.in("folder/extra.txt")));
  assert.ok(!existsSync(place.in("extra.log")));
});

test("deleting in / takes patterns", async (t) => {
  const place = await restoredPlace(t);
  await assert.rejects(place.restore({ target: "/", deleteExtra: true }), UsageError);
  await assert.rejects(place.restore({ target: "/tmp/..", deleteExtra: true }), UsageError);
});

test("files that are just being written under temporary names are not taken for extra ones; left-over ones are", async (t) => {
  const place = await restoredPlace(t);
  for (let file = 0; file < 500; file++) writeFileSync(path.join(place.source, `f${file}`), `content ${file}`);
  await place.save();
  for (let file = 0; file < 500; file++) {
    writeFileSync(place.in(`f${file}`), "older");
    utimesSync(place.in(`f${file}`), 1, 1);
  }
  writeFileSync(place.in(".holdfast-restore-0123456789abcdef"), "half of something");
  const result = await place.restore({ overwrite: "if-newer", deleteExtra: true });
  assert.deepEqual(result.told, []);
  assert.equal(result.updated, 500);
  assert.equal(result.deleted, 1);
});
