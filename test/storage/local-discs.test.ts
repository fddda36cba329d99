/** Local storage on real file systems that are full, read-only, or poor. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { createLocalStorage, openLocalStorage } from "../../src/storage/local.ts";
import { storageConformance } from "../../src/storage/storage.conformance.ts";
import { atEnd } from "../support/at-end.ts";
import type { Cleanup } from "../support/at-end.ts";
import { mountFileSystem } from "../support/file-system-image.ts";
import { skipUnless } from "../support/requirements.ts";
import { run, runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 1024 * 1024;

describe(
  "local storage on a small disc",
  { skip: skipUnless({ root: true, commands: ["mkfs.ext4", "mount"] }) },
  () => {
    it("says that the disc is full, leaves nothing half-done, and goes on when there is room again", async (t) => {
      const root = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 16 });
      const storage = await createLocalStorage(root);
      const contents = new Map<string, Buffer>();
      const failure = await (async (): Promise<unknown> => {
        for (let index = 0; index < 100; index++) {
          const name = `packs/${index % 3}/${index}`;
          const content = randomBytes(MEBIBYTE + index);
          try {
            await storage.put(name, [content]);
          } catch (error) {
            return error;
          }
          contents.set(name, content);
        }
        return undefined;
      })();
      assert.ok(failure instanceof StorageError);
      assert.match(failure.message, /storing packs\/\d\/\d+ failed: .*the disc is full \(ENOSPC\)/);
      assert.match(failure.hint ?? "", /prune/);
      assert.ok(contents.size >= 5, `${contents.size} objects fitted`);
      assert.deepEqual(readdirSync(path.join(root, "tmp")), []);

      let found = 0;
      for await (const { name, sizeBytes } of storage.list("")) {
        assert.equal(sizeBytes, contents.get(name)?.length, name);
        assert.deepEqual(Buffer.from(await storage.get(name)), contents.get(name));
        found++;
      }
      assert.equal(found, contents.size);

      for (const name of [...contents.keys()].slice(0, 3)) await storage.delete(name);
      assert.equal(await storage.put("packs/0/after", [randomBytes(2 * MEBIBYTE)]), true);
    });

    it("reads from a read-only disc, and says why it does not write", async (t) => {
      const root = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 8 });
      const writable = await createLocalStorage(root);
      await writable.put("packs/0/a", [Buffer.from("content")]);
      await runOk("mount", ["-o", "remount,ro", root]);
      const storage = await openLocalStorage(root);
      assert.equal(Buffer.from(await storage.get("packs/0/a")).toString(), "content");
      const readOnly = { name: "StorageError", message: /the disc is read-only \(EROFS\)/, hint: /mount/ };
      await assert.rejects(storage.put("packs/0/b", [Buffer.from("content")]), readOnly);
      await assert.rejects(storage.put("index/b", [Buffer.from("content")]), readOnly);
      await assert.rejects(storage.delete("packs/0/a"), readOnly);
      await assert.rejects(createLocalStorage(path.join(root, "other")), readOnly);
      assert.equal(Buffer.from(await storage.get("packs/0/a")).toString(), "content");
    });
  },
);

const EXFAT = { root: true, commands: ["mkfs.exfat", "mount.exfat-fuse", "losetup"] };
describe("local storage on exFAT, which has no hard links", { skip: skipUnless(EXFAT) }, () => {
  const undo: (() => void | Promise<void>)[] = [];
  const all: Cleanup = { after: (hook) => void undo.push(hook as () => Promise<void>) };
  let root = "";
  let cases = 0;

  before(async () => {
    root = await mountExfat(all, 512);
  });
  after(async () => {
    for (const step of undo) await step();
  });

  storageConformance("a folder on exFAT", async () => {
    const folder = path.join(root, String(cases++));
    const storage = await createLocalStorage(folder);
    return {
      storage,
      dispose: async () => {
        await storage.close();
        await runOk("rm", ["-r", folder]);
      },
    };
  });
});

async function mountExfat(t: Cleanup, sizeMebibytes: number): Promise<string> {
  const folder = temporaryFolder(t, "holdfast-exfat-");
  const image = path.join(folder, "image");
  const mountPoint = path.join(folder, "mounted");
  mkdirSync(mountPoint);
  writeFileSync(image, "");
  truncateSync(image, sizeMebibytes * MEBIBYTE);
  await runOk("mkfs.exfat", [image]);
  const device = (await runOk("losetup", ["--find", "--show", image])).trim();
  atEnd(t, async () => void (await run("losetup", ["--detach", device])));
  await runOk("mount.exfat-fuse", [device, mountPoint]);
  atEnd(t, async () => void (await runOk("umount", [mountPoint])));
  return mountPoint;
}
