import assert from "node:assert/strict";
import { test } from "node:test";
import { NoRepositoryError } from "../errors.ts";
import { reportError } from "./report-error.ts";

test("an expected failure has its message, its hint and its exit code, and no stack", () => {
  const report = reportError(new NoRepositoryError("nothing at /srv", { hint: "look elsewhere" }), false);
  assert.deepEqual(report, {
    exitCode: 10,
    text: "Fatal: nothing at /srv\n       look elsewhere",
    json: { message_type: "exit_error", code: 10, message: "nothing at /srv", hint: "look elsewhere" },
  });
});

test("anything else is called a bug, and shows its stack and causes when asked", () => {
  const error = new TypeError("x is not a function", { cause: new Error("deeper") });
  assert.equal(reportError(error, false).exitCode, 1);
  assert.match(reportError(error, false).text, /bug in Holdfast/);
  assert.doesNotMatch(reportError(error, false).text, / at /);
  assert.match(reportError(error, true).text, /report-error\.test\.ts[^]*caused by Error: deeper/);
});
