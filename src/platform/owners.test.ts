import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { groupIdOf, groupNameOf, userIdOf, userNameOf } from "./owners.ts";
import { run } from "../../test/support/run-command.ts";

describe("owners", () => {
  it("have the names and numbers that getent gives", async () => {
    for (const database of ["passwd", "group"]) {
      const { stdout } = await run("getent", [database]);
      const lines = stdout.trim().split("\n");
      assert.ok(lines.length > 3);
      for (const line of lines) {
        const [name, , id] = line.split(":");
        const [nameOf, idOf] = database === "passwd" ? [userNameOf, userIdOf] : [groupNameOf, groupIdOf];
        assert.equal(idOf(name), Number(id));
        assert.equal(idOf(nameOf(Number(id))), Number(id));
      }
    }
  });

  it("that the host does not know have no name and no number", () => {
    // Asked twice, because answers are remembered.
    for (let time = 0; time < 2; time++) {
      assert.equal(userNameOf(4_123_456_789), "");
      assert.equal(groupNameOf(4_123_456_789), "");
      assert.equal(userIdOf("no such user"), undefined);
      assert.equal(groupIdOf("no such group: é"), undefined);
    }
  });
});
