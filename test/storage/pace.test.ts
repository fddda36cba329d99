/** Storage that is held to a rate: the same contract, whatever the pieces, and not faster than it may be. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { createStorage } from "../../src/storage/open.ts";
import type { Pace, Rate } from "../../src/storage/pace.ts";
import { storageConformance } from "../../src/storage/storage.conformance.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { createTokenBucket } from "../../src/wire/token-bucket.ts";
import { newHoldfast } from "../support/holdfast.ts";
import type { Cleanup } from "../support/at-end.ts";
import { atEnd } from "../support/at-end.ts";
import { skipUnless } from "../support/requirements.ts";
import { startSshServer } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { S3_TEST_KEY, startS3Server } from "./s3-server.ts";

const MIB = 1024 * 1024;

function counting(sliceBytes: number): Rate & { taken: number; most: number } {
  const rate = {
    sliceBytes,
    taken: 0,
    most: 0,
    async take(bytes: number) {
      rate.taken += bytes;
      rate.most = Math.max(rate.most, bytes);
    },
  };
  return rate;
}

storageConformance("a local folder in slices of 100,003 bytes", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-test-"));
  const pace = { upload: counting(100_003), download: counting(100_003) };
  const storage = await createStorage(path.join(folder, "r"), { pace });
  return {
    storage,
    dispose: async () => {
      await storage.close();
      rmSync(folder, { recursive: true });
    },
  };
});

/** The three kinds of storage, each with a pace. */
const KINDS: Readonly<Record<string, (t: Cleanup, pace: Pace) => Promise<Storage>>> = {
  "a local folder": (t, pace) => createStorage(path.join(temporaryFolder(t), "r"), { pace }),
  "an SFTP server": async (t, pace) => {
    const server = await startSshServer(t);
    const url = `sftp:127.0.0.1:${temporaryFolder(t)}/r`;
    return createStorage(url, { pace, sshArguments: server.clientOptions });
  },
  "an S3 server": async (t, pace) => {
    Object.assign(process.env, {
      AWS_ACCESS_KEY_ID: S3_TEST_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: S3_TEST_KEY.secretAccessKey,
    });
    const server = await startS3Server(t);
    return createStorage(`s3:${server.endpoint}/bucket`, { pace });
  },
};

describe("a pace", () => {
  for (const [kind, open] of Object.entries(KINDS)) {
    const skip = kind.includes("SFTP") ? skipUnless({ commands: ["ssh", "sshd", "ssh-keygen"] }) : false;

    test(`lets all content of ${kind} through, both ways, in slices`, { skip }, async (t) => {
      const upload = counting(100_000);
      const download = counting(100_000);
      const storage = await open(t, { upload, download });
      atEnd(t, () => storage.close());
      const content = randomBytes(2 * MIB);
      await storage.put("packs/aa/one", [content.subarray(0, 300_001), content.subarray(300_001)]);
      assert.ok(upload.taken >= content.length && upload.taken < content.length + 10_000, `${upload.taken}`);
      assert.ok(upload.most <= 100_000);
      assert.ok(content.equals(Buffer.from(await storage.get("packs/aa/one"))));
      assert.ok(download.taken >= content.length && download.taken < content.length * 1.2, `${download.taken}`);
      const range = await storage.get("packs/aa/one", { offset: 5, length: 250_000 });
      assert.ok(content.subarray(5, 250_005).equals(Buffer.from(range)));
    });

    test(`holds ${kind} to its rate`, { skip }, async (t) => {
      const rate = (): Rate => ({ sliceBytes: 256 * 1024, take: createTokenBucket(2 * MIB).take });
      const storage = await open(t, { upload: rate(), download: rate() });
      atEnd(t, () => storage.close());
      const content = [randomBytes(MIB), randomBytes(MIB)];
      const seconds = async (work: Promise<unknown>): Promise<number> => {
        const before = performance.now();
        await work;
        return (performance.now() - before) / 1000;
      };
      // A second in all, of which the first quarter may go at once. How much longer it takes is the machine's affair.
      const put = await seconds(storage.put("packs/aa/one", content));
      assert.ok(put > 0.7, `stored in ${put} s`);
      const got = await seconds(
        Promise.all([0, MIB].map((offset) => storage.get("packs/aa/one", { offset, length: MIB }))),
      );
      assert.ok(got > 0.7, `read in ${got} s`);
    });
  }
});

test("--limit-upload holds a backup to its rate, and --limit-download a restore; a unit may be named", async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = temporaryFolder(t);
  writeFileSync(path.join(folder, "random"), randomBytes(3 * MIB));
  const durationOf = async (...args: string[]): Promise<number> => {
    const before = performance.now();
    await holdfast.ok(args);
    return (performance.now() - before) / 1000;
  };
  const target = path.join(temporaryFolder(t), "restored");
  assert.ok((await durationOf("backup", folder, "--limit-upload", "2048")) > 1.2);
  assert.ok((await durationOf("restore", "latest", "--target", target, "--limit-download", "2M")) > 1.2);
  const wrong = await holdfast.run(["backup", folder, "--limit-upload", "fast"]);
  assert.match(wrong.stderr, /--limit-upload: "fast" is not a size/);
});
