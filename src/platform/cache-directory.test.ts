import assert from "node:assert/strict";
import { it } from "node:test";
import { cacheDirectory } from "./cache-directory.ts";

const cases = [
  { environment: { HOLDFAST_CACHE_DIR: "/c", XDG_CACHE_HOME: "/x", HOME: "/h" }, expected: "/c" },
  { environment: { XDG_CACHE_HOME: "/x", HOME: "/h" }, expected: "/x/holdfast" },
  { environment: { HOLDFAST_CACHE_DIR: "", XDG_CACHE_HOME: "relative", HOME: "/h" }, expected: "/h/.cache/holdfast" },
  { environment: { HOME: "/h" }, expected: "/h/.cache/holdfast" },
];
for (const { environment, expected } of cases) {
  it(`the cache lies in ${expected} for ${JSON.stringify(environment)}`, () => {
    assert.equal(cacheDirectory(environment), expected);
  });
}
