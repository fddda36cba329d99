import assert from "node:assert/strict";
import { runOk, runOkBytes } from "../../support/run-command.ts";

/**
 * Fails with what differs, unless `copy` is what `rsync -aHAX` would have made of `original`: content, names, types,
 * modes, owners, times, hard links, devices, ACLs and extended attributes. rsync itself and getfattr judge.
 */
export async function assertSameForRsync(original: string, copy: string): Promise<void> {
  const options = ["-aHAX", "--dry-run", "--itemize-changes", "--checksum", "--delete", "--numeric-ids"];
  assert.equal(await runOk("rsync", [...options, `${original}/`, `${copy}/`]), "", "rsync finds a difference");
  assert.deepEqual(await attributes(copy), await attributes(original), "getfattr finds a difference");
}

async function attributes(folder: string): Promise<string[]> {
  const dump = "find . -print0 | sort -z | xargs -0 -r getfattr -h -d -m - -e hex --";
  const output = await runOkBytes("sh", ["-c", dump], { cwd: folder });
  return output.toString("latin1").split("\n");
}
