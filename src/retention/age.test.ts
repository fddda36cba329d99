import assert from "node:assert/strict";
import { test } from "node:test";
import { olderThan } from "./age.ts";

const DAY_MS = 86_400_000;

function aged(days: number, group: string) {
  return { id: `${group}${days}`, timeMs: 1e12 - days * DAY_MS, host: "a", group, paths: [], tags: [] };
}

test("lets go what is older than the age, oldest first, but never the last of a group", () => {
  const snapshots = [aged(1, "x"), aged(30, "x"), aged(31, "x"), aged(90, "x"), aged(400, "y"), aged(500, "y")];
  assert.deepEqual(
    olderThan(snapshots, 30 * DAY_MS, 1e12).map(({ id }) => id),
    ["y500", "x90", "x31"],
  );
});
