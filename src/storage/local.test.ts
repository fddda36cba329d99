import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { TestContext } from "node:test";
import { NoRepositoryError, ObjectMissingError, StorageError } from "../errors.ts";
import { createLocalStorage, openLocalStorage } from "./local.ts";
import { storageConformance } from "./storage.conformance.ts";

storageConformance("a local folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-local-"));
  const storage = await createLocalStorage(join(folder, "repository"));
  return {
    storage,
    dispose: async () => {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
});

describe("local storage", () => {
  const content = Buffer.from("content");

  async function temporaryFolder(t: TestContext): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "holdfast-local-"));
    t.after(() => rm(folder, { recursive: true }));
    return folder;
  }

  it("says where an object lies as a file, unless it is to be read at a pace", async (t) => {
    const folder = join(await temporaryFolder(t), "repository");
    const storage = await createLocalStorage(folder);
    await storage.put("packs/ab/abcd", [content]);
    assert.deepEqual(await readFile((await storage.fileOf?.("packs/ab/abcd")) ?? ""), content);
    await assert.rejects(async () => storage.fileOf?.("packs/cd/cdef"), ObjectMissingError);
    await assert.rejects(async () => storage.fileOf?.("packs/../config"), StorageError);
    await rename(join(folder, "packs/ab"), join(folder, "elsewhere"));
    await symlink(join(folder, "elsewhere"), join(folder, "packs/ab"));
    await assert.rejects(async () => (await openLocalStorage(folder)).fileOf?.("packs/ab/abcd"), StorageError);
    const rate = { take: () => Promise.resolve(), sliceBytes: 1024 };
    assert.equal((await openLocalStorage(folder, { upload: rate, download: rate })).fileOf, undefined);
  });

  it("lays objects out as files under their names, for the owner alone", async (t) => {
    const folder = await temporaryFolder(t);
    const storage = await createLocalStorage(join(folder, "deep", "er", "repository"));
    await storage.put("packs/ab/abcd", [content]);
    const root = join(folder, "deep", "er", "repository");
    assert.deepEqual(await readFile(join(root, "packs/ab/abcd")), content);
    assert.equal((await stat(join(root, "packs/ab/abcd"))).mode & 0o777, 0o600);
    for (const path of ["", "packs", "packs/ab", "tmp"]) {
      assert.equal((await stat(join(root, path))).mode & 0o777, 0o700, path);
    }
    assert.deepEqual(await readdir(join(root, "tmp")), []);
  });

  it("works in a folder that is there, and leaves what is not its own alone", async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(join(folder, "lost+found"));
    await writeFile(join(folder, "Read me"), "foreign");
    await writeFile(join(folder, ".hidden"), "foreign");
    const storage = await createLocalStorage(folder);
    await storage.put("config", [content]);
    const names: string[] = [];
    for await (const { name } of storage.list("")) names.push(name);
    assert.deepEqual(names, ["config"]);
  });

  it("says that there is no repository where there is no folder, or no folder but a file", async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, "file"), "");
    await assert.rejects(openLocalStorage(join(folder, "none")), NoRepositoryError);
    await assert.rejects(openLocalStorage(join(folder, "file")), NoRepositoryError);
    await assert.rejects(openLocalStorage(join(folder, "file", "below")), NoRepositoryError);
    await assert.rejects(createLocalStorage(join(folder, "file")), NoRepositoryError);
    await assert.rejects(createLocalStorage(join(folder, "file", "below")), StorageError);
  });

  it("tells a folder that is gone from one without objects", async (t) => {
    const folder = await temporaryFolder(t);
    const storage = await createLocalStorage(join(folder, "repository"));
    await storage.put("index/a", [content]);
    await rename(join(folder, "repository"), join(folder, "elsewhere"));
    const gone = { name: "StorageError", hint: /mounted/ };
    await assert.rejects(storage.get("index/a"), gone);
    await assert.rejects(storage.get("other/a"), gone);
    await assert.rejects(storage.stat("index/a"), gone);
    await assert.rejects(storage.put("index/b", [content]), gone);
    await assert.rejects(storage.put("other/b", [content]), gone);
    await assert.rejects(storage.delete("other/b"), gone);
    for (const prefix of ["", "other/"]) {
      await assert.rejects(async () => {
        for await (const object of storage.list(prefix)) assert.fail(object.name);
      }, gone);
    }
  });

  it("does not follow symbolic links inside the repository", async (t) => {
    const folder = await temporaryFolder(t);
    const root = join(folder, "repository");
    const storage = await createLocalStorage(root);
    await mkdir(join(folder, "outside"));
    await writeFile(join(folder, "outside", "secret"), "secret");
    await symlink(join(folder, "outside"), join(root, "packs"));
    await symlink(join(folder, "outside", "secret"), join(root, "config"));
    await symlink(join(folder, "nothing"), join(root, "dangling"));
    for (const name of ["packs/secret", "config", "dangling"]) {
      await assert.rejects(storage.get(name), StorageError);
      await assert.rejects(storage.put(name, [content]), StorageError);
      await storage.delete(name).catch((error: unknown) => assert.ok(error instanceof StorageError));
    }
    await assert.rejects(storage.put("packs/new", [content]), StorageError);
    assert.equal(await storage.stat("config"), undefined);
    for await (const { name } of storage.list("")) assert.fail(name);
    assert.deepEqual(await readdir(join(folder, "outside")), ["secret"]);
    assert.deepEqual((await readdir(root)).sort(), ["config", "dangling", "packs", "tmp"]);
  });

  it("may itself be reached through a symbolic link", async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(join(folder, "real"));
    await symlink("real", join(folder, "link"));
    const storage = await openLocalStorage(join(folder, "link"));
    await storage.put("packs/a", [content]);
    assert.deepEqual(await readFile(join(folder, "real", "packs", "a")), content);
  });

  it("does not wait for a writer on a planted FIFO", { timeout: 10_000 }, async (t) => {
    const folder = await temporaryFolder(t);
    const storage = await createLocalStorage(folder);
    execFileSync("mkfifo", [join(folder, "config")]);
    await assert.rejects(storage.get("config"), ObjectMissingError);
    await assert.rejects(storage.put("config", [content]), StorageError);
    assert.equal(await storage.stat("config"), undefined);
  });

  it("says so when a folder stands where an object should be, or an object where a folder should", async (t) => {
    const folder = await temporaryFolder(t);
    const storage = await createLocalStorage(folder);
    await storage.put("packs/a", [content]);
    await assert.rejects(storage.put("packs", [content]), StorageError);
    await assert.rejects(storage.put("packs/a/b", [content]), StorageError);
    assert.deepEqual(Buffer.from(await storage.get("packs/a")), content);
    assert.deepEqual(await readdir(join(folder, "tmp")), []);
  });

  it("names the object, the place and the way out when the path gets too long", async (t) => {
    const folder = await temporaryFolder(t);
    let root = folder;
    while (root.length < 3900) root = join(root, "d".repeat(200));
    const storage = await createLocalStorage(root);
    const name = `packs/${"a".repeat(190)}`;
    await assert.rejects(storage.put(name, [content]), {
      name: "StorageError",
      message: /storing packs\/a+ failed: .*too long.*ENAMETOOLONG/,
      hint: /shorter/,
    });
  });

  it(
    "tells a user without the right to the folder so",
    { skip: process.getuid?.() !== 0 && "needs root" },
    async (t) => {
      const folder = await temporaryFolder(t);
      await chmod(folder, 0o755);
      const storage = await createLocalStorage(join(folder, "repository"));
      await storage.put("packs/a", [content]);
      t.after(() => process.seteuid?.(0));
      process.seteuid?.(65534);
      const denied = { name: "StorageError", message: /permission denied \(EACCES\)/, hint: /user/ };
      process.seteuid?.(65534);
      try {
        await assert.rejects(storage.get("packs/a"), denied);
        await assert.rejects(storage.put("packs/b", [content]), denied);
        await assert.rejects(storage.delete("packs/a"), denied);
        await assert.rejects(createLocalStorage(join(folder, "other")), denied);
      } finally {
        process.seteuid?.(0);
      }
    },
  );
});
