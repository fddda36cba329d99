import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import assert from "node:assert/strict";
import { checkoutFolder } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { run } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const HEADING = "## A tour in ten minutes";

test(
  "every line of the README's tour works as it stands",
  { skip: skipUnless({ commands: ["age-keygen"] }) },
  async (t) => {
    const readme = readFileSync(path.join(checkoutFolder, "README.md"), "utf8");
    const from = readme.indexOf(HEADING);
    assert.ok(from >= 0);
    const tour = readme.slice(from, readme.indexOf("\n## ", from + HEADING.length));
    const blocks = Array.from(tour.matchAll(/^```sh\n(.*?)^```$/gms), ([, block]) => block);
    assert.ok(blocks.length >= 4);
    const home = temporaryFolder(t);
    const env = { HOME: home, XDG_CACHE_HOME: undefined, XDG_CONFIG_HOME: undefined };
    const { status, stdout, stderr } = await run("bash", ["-euc", blocks.join("")], { cwd: checkoutFolder, env });
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, /CREATE TABLE customers/);
    assert.match(stdout, /no errors|no damage|sound/i);
  },
);
