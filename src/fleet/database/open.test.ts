import assert from "node:assert/strict";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { NewerFormatError } from "../../errors.ts";
import { migrate, versionOf } from "./migrations.ts";
import { openBesideServer, openDatabase } from "./open.ts";

const NOW_MS = Date.parse("2026-11-20T12:00:00Z");
const account = { name: "a", storage_url: "/srv/a", key_mode: "server", created_ms: 1 } as const;

test("keeps what was written, in transactions too, and rolls back what fails", async (t) => {
  const file = path.join(temporaryFolder(t), "fleet.sqlite");
  const first = openDatabase(file, NOW_MS);
  assert.equal(first.isNew, true);
  const inserted = await first.database.insertInto("accounts").values(account).executeTakeFirstOrThrow();
  assert.equal(inserted.insertId, 1n);
  const failing = first.database.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("accounts")
      .values({ ...account, name: "b", storage_url: "/srv/b" })
      .execute();
    throw new Error("no");
  });
  await assert.rejects(failing, /no/);
  await first.database.destroy();

  const second = openDatabase(file, NOW_MS);
  assert.equal(second.isNew, false);
  const names = await second.database.selectFrom("accounts").select("name").execute();
  assert.deepEqual(
    names.map(({ name }) => name),
    ["a"],
  );
  await assert.rejects(second.database.insertInto("accounts").values(account).execute(), /UNIQUE/);
  await second.database.destroy();
});

for (const [what, damage] of [
  [
    "is no database",
    (file: string) => writeFileSync(file, "this is not a database at all, it is only text".repeat(99)),
  ],
  ["is cut short", (file: string) => truncateSync(file, 5000)],
  [
    "has lost pages",
    (file: string) => {
      const bytes = readFileSync(file);
      bytes.fill(0xaa, 4096, 40_960);
      writeFileSync(file, bytes);
    },
  ],
] as const) {
  test(`sets a database aside that ${what}, and begins a new one`, async (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, "fleet.sqlite");
    const before = openDatabase(file, NOW_MS);
    await before.database.insertInto("accounts").values(account).execute();
    await before.database.destroy();
    damage(file);
    const after = openDatabase(file, NOW_MS);
    assert.equal(after.isNew, true);
    assert.equal(after.damaged?.file, `${file}.damaged-2026-11-20T120000.000Z`);
    assert.ok(readdirSync(folder).includes(path.basename(after.damaged.file)));
    assert.deepEqual(await after.database.selectFrom("accounts").selectAll().execute(), []);
    await after.database.destroy();
  });
}

test("refuses a database of a newer version, and leaves it alone", (t) => {
  const file = path.join(temporaryFolder(t), "fleet.sqlite");
  const sqlite = new DatabaseSync(file);
  sqlite.exec("CREATE TABLE later (x); PRAGMA user_version = 999");
  sqlite.close();
  assert.throws(() => openDatabase(file, NOW_MS), NewerFormatError);
  assert.deepEqual(new DatabaseSync(file).prepare("SELECT name FROM sqlite_schema").all().length, 1);
});

test("goes from step to step, and stays where a step fails", () => {
  const sqlite = new DatabaseSync(":memory:");
  const steps = ["CREATE TABLE a (x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y"];
  assert.equal(migrate(sqlite, steps.slice(0, 1)), 0);
  assert.throws(() => migrate(sqlite, [...steps, "INSERT INTO a VALUES (2, 3); nonsense"]));
  assert.equal(versionOf(sqlite), 2);
  assert.deepEqual({ ...sqlite.prepare("SELECT * FROM a").get() }, { x: 1, y: null });
});

test("a process beside the server leaves a damaged database where it is", (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, "fleet.sqlite");
  writeFileSync(file, "this is not a database at all, it is only text".repeat(99));
  assert.throws(() => openBesideServer(file), /not a database/);
  assert.deepEqual(readdirSync(folder), ["fleet.sqlite"]);
});
