import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Transform } from "node:stream";
import { describe, it } from "node:test";
import type { TestContext } from "node:test";
import { NoRepositoryError, StorageError } from "../../errors.ts";
import { storageConformance } from "../storage.conformance.ts";
import { seededRandom } from "../testing/random.ts";
import type { SftpChannel } from "./session.ts";
import { createOverChannel, locationOf, openOverChannel } from "./sftp.ts";
import { channelToCommand } from "./ssh-process.ts";
import { packetStart, REPLY, u32 } from "./wire.ts";

const SERVER = "/usr/lib/openssh/sftp-server";
const connect = (): SftpChannel => channelToCommand([SERVER, "-e"], "sftp-server");
const skip = !existsSync(SERVER) && `needs ${SERVER}`;

describe("SFTP, spoken with OpenSSH's server itself", { skip }, () => {
  storageConformance("a folder over SFTP", () => storageOver(connect));

  it("lays objects out as files under their names, for the owner alone", async (t) => {
    const folder = await temporaryFolder(t);
    const storage = await createOverChannel(`${folder}/deep/er`, "sftp:test", connect);
    await storage.put("packs/ab/abcd", [Buffer.from("content")]);
    await storage.close();
    assert.equal(await readFile(join(folder, "deep/er/packs/ab/abcd"), "utf8"), "content");
    assert.equal((await stat(join(folder, "deep/er/packs/ab/abcd"))).mode & 0o777, 0o600);
    assert.equal((await stat(join(folder, "deep/er/packs"))).mode & 0o777, 0o700);
    assert.deepEqual(await readdir(join(folder, "deep/er/tmp")), []);
  });

  it("begins paths without a slash where the server begins", async (t) => {
    const folder = await temporaryFolder(t);
    const connectThere = (): SftpChannel => channelToCommand([SERVER, "-e", "-d", folder], "sftp-server");
    const storage = await createOverChannel("below/home", "sftp:test", connectThere);
    await storage.put("config", [Buffer.from("content")]);
    await storage.close();
    assert.equal(await readFile(join(folder, "below/home/config"), "utf8"), "content");
  });

  it("says that there is no repository where there is no folder", async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, "file"), "");
    await assert.rejects(openOverChannel(`${folder}/none`, "sftp:test", connect), NoRepositoryError);
    await assert.rejects(openOverChannel(`${folder}/file`, "sftp:test", connect), NoRepositoryError);
    await assert.rejects(createOverChannel(`${folder}/file`, "sftp:test", connect), StorageError);
  });

  it("does not follow symbolic links inside the repository", async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(join(folder, "outside"));
    await writeFile(join(folder, "outside", "secret"), "secret");
    const storage = await createOverChannel(`${folder}/repository`, "sftp:test", connect);
    t.after(() => storage.close());
    await symlink(join(folder, "outside"), join(folder, "repository", "packs"));
    await symlink(join(folder, "outside", "secret"), join(folder, "repository", "config"));
    for (const name of ["packs/secret", "config"]) {
      await assert.rejects(storage.get(name), StorageError);
      await assert.rejects(storage.put(name, [Buffer.from("content")]), StorageError);
    }
    for await (const { name } of storage.list("")) assert.fail(name);
    assert.deepEqual(await readdir(join(folder, "outside")), ["secret"]);
  });

  it("says what a read-only server refuses", async (t) => {
    const folder = await temporaryFolder(t);
    const storage = await openOverChannel(folder, "sftp:test", () => channelToCommand([SERVER, "-R"], "sftp-server"));
    t.after(() => storage.close());
    await assert.rejects(storage.put("config", [Buffer.from("content")]), {
      name: "StorageError",
      message: /storing config failed: sftp:test: permission denied \(EACCES\)/,
    });
  });

  it("says what a server that cannot be started says", async () => {
    const failing = (): SftpChannel =>
      channelToCommand(["sh", "-c", "echo Host key changed >&2; exit 255"], "ssh to x");
    await assert.rejects(openOverChannel("/x", "sftp:test", failing), {
      name: "ConnectionLostError",
      message: "ssh to x: Host key changed",
    });
    const missing = (): SftpChannel => channelToCommand(["/no/such/program"], "ssh to x");
    await assert.rejects(openOverChannel("/x", "sftp:test", missing), { message: /ENOENT/ });
  });
});

describe("SFTP with a server that knows no extensions", { skip }, () => {
  storageConformance("a folder over plain SFTP", () => storageOver(() => withoutExtensions(connect())));
});

const NO_DELAYS = Array.from({ length: 20 }, () => 0);

describe("SFTP when the connection breaks", { skip }, () => {
  it("begins again, and keeps what was acknowledged", { timeout: 60_000 }, async (t) => {
    const folder = await temporaryFolder(t);
    const random = seededRandom(1);
    let connections = 0;
    const fragile = (): SftpChannel => {
      connections++;
      // The first must last until the storage is open.
      return breakingAfter(connect(), connections === 1 ? 5000 : random.below(400_000));
    };
    const storage = await createOverChannel(folder, "sftp:test", fragile, NO_DELAYS);
    t.after(() => storage.close());
    const contents = new Map<string, Buffer>();
    for (let index = 0; index < 12; index++) {
      const name = `packs/${index % 3}/${index}`;
      const content = Buffer.alloc(20_000 * index, `${index} `);
      await storage.put(name, [content]);
      contents.set(name, content);
    }
    assert.ok(connections > 3, `${connections} connections`);
    const listed: string[] = [];
    for await (const { name, sizeBytes } of storage.list("")) {
      listed.push(name);
      assert.equal(sizeBytes, contents.get(name)?.length);
    }
    assert.deepEqual(listed.sort(), [...contents.keys()].sort());
    for (const [name, content] of contents) {
      assert.ok(content.equals(await readFile(join(folder, name))));
      assert.ok(content.equals(await storage.get(name)));
    }
    await Promise.all(listed.map((name) => storage.delete(name)));
    assert.deepEqual(await readdir(join(folder, "packs/0")), []);
  });

  it("lists each object once, although the list breaks off again and again", async (t) => {
    const folder = await temporaryFolder(t);
    const names = Array.from({ length: 40 }, (_, index) => `packs/${index % 8}/${index}`);
    const writer = await createOverChannel(folder, "sftp:test", connect);
    for (const name of names) await writer.put(name, [Buffer.from(name)]);
    await writer.close();
    let connections = 0;
    const fragile = (): SftpChannel => breakingAfter(connect(), [600, 1500, 2500, Infinity][connections++]);
    const storage = await openOverChannel(folder, "sftp:test", fragile, NO_DELAYS);
    t.after(() => storage.close());
    const listed: string[] = [];
    for await (const { name } of storage.list("")) listed.push(name);
    assert.deepEqual(listed.sort(), names.sort());
    assert.equal(connections, 4);
  });

  it("gives up at once when it is closed meanwhile", async (t) => {
    const folder = await temporaryFolder(t);
    let connections = 0;
    const storage = await createOverChannel(folder, "sftp:test", () => {
      connections++;
      return breakingAfter(connect(), 1000);
    });
    const put = assert.rejects(storage.put("config", [Buffer.alloc(100_000)]), { name: "ConnectionLostError" });
    await storage.close();
    await put;
    assert.equal(connections, 1);
  });
});

describe("the name of an SFTP place", () => {
  it("is what one would type", () => {
    const place = { host: "host", user: undefined, port: undefined, path: "/srv" };
    assert.equal(locationOf(place), "sftp:host:/srv");
    assert.equal(locationOf({ ...place, user: "ann", path: "srv" }), "sftp:ann@host:srv");
    assert.equal(locationOf({ ...place, port: 22, host: "::1" }), "sftp://[::1]:22//srv");
  });
});

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-sftp-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

async function storageOver(open: () => SftpChannel): ReturnType<Parameters<typeof storageConformance>[1]> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-sftp-"));
  const storage = await createOverChannel(join(folder, "repository"), "sftp:test", open);
  return {
    storage,
    dispose: async () => {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Replaces the server's greeting by one that names no extension. */
function withoutExtensions(channel: SftpChannel): SftpChannel {
  let greeting: Buffer | undefined = Buffer.alloc(0);
  const plain = new Transform({
    transform(chunk: Buffer, _, done) {
      if (greeting === undefined) return done(null, chunk);
      greeting = Buffer.concat([greeting, chunk]);
      if (greeting.length < 4 || greeting.length < 4 + greeting.readUInt32BE()) return done();
      const rest = greeting.subarray(4 + greeting.readUInt32BE());
      greeting = undefined;
      done(null, Buffer.concat([packetStart(REPLY.version, [u32(3)]), rest]));
    },
  });
  return { ...channel, fromServer: channel.fromServer.pipe(plain) };
}

/** Breaks when so many bytes have gone through it in both directions. */
function breakingAfter(channel: SftpChannel, limitBytes: number): SftpChannel {
  let passedBytes = 0;
  const counting = (): Transform =>
    new Transform({
      transform(chunk: Buffer, _, done) {
        passedBytes += chunk.length;
        if (passedBytes > limitBytes) channel.kill();
        else done(null, chunk);
      },
    });
  const toServer = counting();
  toServer.pipe(channel.toServer).on("error", () => undefined);
  return { ...channel, toServer, fromServer: channel.fromServer.pipe(counting()) };
}
