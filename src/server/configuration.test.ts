import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../errors.ts";
import { DEFAULT_CONFIGURATION, parseConfiguration } from "./configuration.ts";

test("an empty file is a good one, and what is not named has its default", () => {
  assert.deepEqual(parseConfiguration("", "f"), DEFAULT_CONFIGURATION);
  const { maintenance } = parseConfiguration("[maintenance]\ncheck_days = 7 # a week\n", "f");
  assert.deepEqual(maintenance, { ...DEFAULT_CONFIGURATION.maintenance, check_days: 7 });
});

for (const [text, expected] of [
  ["[log]\nlevel = 'loud'\n", /^f\.toml, line 2: log\.level: .*"debug"/],
  ["# here\n\n[ssh]\nprogram = 'bin/holdfast'", /^f\.toml, line 4: ssh\.program: must be a full path$/],
  ["[maintenance]\ncheck_days = 7\nchek_days = 8", /^f\.toml, line 3: maintenance\.chek_days: is not a setting$/],
  ["maintenance.drill_days = -1", /^f\.toml, line 1: maintenance\.drill_days: /],
  ["[log]\n[backups]\nx = 1", /^f\.toml, line 2: backups: is not a setting$/],
  ["[log]\n\nlevel = ", /^f\.toml, line 3: /],
  ["[log]\nlevel = info", /^f\.toml, line 2: log\.level: /],
  ["[pulls]\nat_once = 3\n[log", /^f\.toml, line 3: /],
  ["log = 3", /^f\.toml, line 1: log: /],
] as const) {
  test(`names line and key of what is wrong in ${JSON.stringify(text)}`, () => {
    assert.throws(
      () => parseConfiguration(text, "f.toml"),
      (error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, expected);
        return true;
      },
    );
  });
}
