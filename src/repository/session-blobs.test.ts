import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { runOk } from "../../test/support/run-command.ts";
import { HoldfastError } from "../errors.ts";
import { createBlobTable, insertBlob } from "./blob-table.ts";
import {
  claimForStoring,
  closeSessionBlobs,
  createClaimStep,
  createSessionBlobs,
  isClaimed,
  type SessionBlobs,
} from "./session-blobs.ts";

test("what the repository holds is not claimed, and what is claimed once is not claimed again", () => {
  const base = createBlobTable(1);
  const [held, fresh] = [randomBytes(32), randomBytes(32)];
  insertBlob(base, held, 0, 5, 0);
  const blobs = createSessionBlobs(base);
  assert.equal(claimForStoring(blobs, held), false);
  assert.equal(isClaimed(blobs, held), false);
  assert.equal(isClaimed(blobs, fresh), false);
  assert.equal(claimForStoring(blobs, fresh), true);
  assert.equal(claimForStoring(blobs, fresh), false);
  assert.equal(isClaimed(blobs, fresh), true);
  closeSessionBlobs(blobs);
});

function smallSession(...capacities: number[]): SessionBlobs {
  const claimed = capacities.map((capacity) => createClaimStep(capacity, undefined, 0));
  return { base: createBlobTable(0), claimed, fd: undefined };
}

test("claims go on in the next table when one is full", () => {
  const blobs = smallSession(4, 16, 64);
  const ids = Array.from({ length: 84 }, () => randomBytes(32));
  for (const id of ids) assert.equal(claimForStoring(blobs, id), true);
  for (const id of ids) {
    assert.equal(claimForStoring(blobs, id), false);
    assert.equal(isClaimed(blobs, id), true);
  }
  assert.equal(isClaimed(blobs, randomBytes(32)), false);
});

test("when all tables are full, that is said in words", () => {
  const blobs = smallSession(2);
  assert.equal(claimForStoring(blobs, randomBytes(32)), true);
  assert.equal(claimForStoring(blobs, randomBytes(32)), true);
  assert.throws(() => claimForStoring(blobs, randomBytes(32)), HoldfastError);
});

test("a machine with little memory gets fewer tables rather than none", async () => {
  const code = `
    const { createBlobTable } = await import(${JSON.stringify(new URL("./blob-table.ts", import.meta.url).href)});
    const { createSessionBlobs } = await import(${JSON.stringify(new URL("./session-blobs.ts", import.meta.url).href)});
    process.stdout.write(String(createSessionBlobs(createBlobTable(0)).claimed.length));`;
  const limited = `ulimit -v 3000000 && exec "$0" --input-type=module -e "$1"`;
  const tables = await runOk("bash", ["-c", limited, process.execPath, code]);
  assert.ok(Number(tables) >= 3 && Number(tables) < 40, `${tables} tables`);
});
