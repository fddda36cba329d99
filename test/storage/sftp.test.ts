/** SFTP through the system's `ssh`, to OpenSSH's server on loopback. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { createStorage, openStorage } from "../../src/storage/open.ts";
import { storageConformance } from "../../src/storage/storage.conformance.ts";
import { atEnd } from "../support/at-end.ts";
import type { Cleanup } from "../support/at-end.ts";
import { mountFileSystem } from "../support/file-system-image.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { startSshServer } from "../support/ssh-server.ts";
import type { SshServer } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const skip = skipUnless({ commands: ["ssh", "sshd", "ssh-keygen"] });

describe("SFTP through ssh", { skip }, () => {
  const undo: (() => void | Promise<void>)[] = [];
  const all: Cleanup = { after: (hook) => void undo.push(hook as () => Promise<void>) };
  let server: SshServer;
  let folder = "";
  let cases = 0;

  before(async () => {
    server = await startSshServer(all);
    folder = temporaryFolder(all);
  });
  after(async () => {
    for (const step of undo) await step();
  });

  function sshOptions(): { sshArguments: readonly string[] } {
    return { sshArguments: server.clientOptions };
  }

  describe("over one shared connection", () => {
    const shared = (): readonly string[] => [...server.clientOptions, `-oControlPath=${folder}/line`];

    after(() => runOk("ssh", [...shared(), "-O", "exit", "127.0.0.1"]));

    // One log-in for all the cases: each takes a third of a second.
    storageConformance("a folder on an SSH server", async () => {
      const sshArguments = [...shared(), "-oControlMaster=auto", "-oControlPersist=60"];
      const storage = await createStorage(`sftp:127.0.0.1:${folder}/${cases++}`, { sshArguments });
      return { storage, dispose: () => storage.close() };
    });
  });

  it("is reached by a URL with user and port as well", async () => {
    const options = server.clientOptions.filter((option) => !option.startsWith("-oPort"));
    const user = process.env.USER ?? "root";
    const url = `sftp://${user}@127.0.0.1:${server.port}/${folder}/by-url`;
    const storage = await createStorage(url, { sshArguments: options });
    assert.equal(storage.location, url);
    await storage.put("config", [Buffer.from("content")]);
    await storage.close();
    assert.equal(readFileSync(path.join(folder, "by-url", "config"), "utf8"), "content");
  });

  it("tells what ssh says when nobody answers, or when the server does not know us", async () => {
    const nobody = [...server.clientOptions.filter((option) => !option.startsWith("-oPort")), "-oPort=1"];
    await assert.rejects(openStorage(`sftp:127.0.0.1:${folder}`, { sshArguments: nobody }), {
      name: "ConnectionLostError",
      code: "storage",
      message: /ssh to 127\.0\.0\.1: .*Connection refused/,
      hint: /log in/,
    });
    const stranger = server.clientOptions.filter((option) => !option.startsWith("-i"));
    await assert.rejects(openStorage(`sftp:127.0.0.1:${folder}`, { sshArguments: stranger }), {
      message: /Permission denied/,
    });
  });

  it("goes on when the line is cut in the middle of a pack, and the server is there again", async (t) => {
    const line = await startLine(t, server.port);
    const repository = path.join(folder, "cut");
    const sshArguments = [...server.clientOptions, "-oHostKeyAlias=line", "-oStrictHostKeyChecking=no"].filter(
      (option) => !option.startsWith("-oPort") && option !== "-oStrictHostKeyChecking=yes",
    );
    const storage = await createStorage(`sftp://127.0.0.1:${line.port}/${repository}`, { sshArguments });
    t.after(() => storage.close());
    const contents = [0, 1, 2].map(() => randomBytes(6 * 1024 * 1024));
    line.cutAfterBytes(9 * 1024 * 1024);
    await Promise.all(contents.map((content, index) => storage.put(`packs/0/${index}`, [content])));
    assert.equal(line.cuts(), 1);
    for (const [index, content] of contents.entries()) {
      assert.ok(content.equals(readFileSync(path.join(repository, `packs/0/${index}`))));
    }
    line.cutAfterBytes(1024 * 1024);
    assert.ok(contents[0].equals(await storage.get("packs/0/0")));
    assert.equal(line.cuts(), 2);
  });

  it(
    "says that the server's disc is full",
    { skip: skipUnless({ root: true, commands: ["mkfs.ext4"] }) },
    async (t) => {
      const small = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 8 });
      const storage = await createStorage(`sftp:127.0.0.1:${small}`, sshOptions());
      t.after(() => storage.close());
      const failure = await storage.put("packs/0/1", [randomBytes(9 * 1024 * 1024)]).catch((error: unknown) => error);
      assert.ok(failure instanceof StorageError);
      assert.match(failure.message, /storing packs\/0\/1 failed: sftp:.*: the disc is full \(ENOSPC\)/);
      assert.deepEqual(readdirSync(path.join(small, "tmp")), []);
      assert.deepEqual(readdirSync(path.join(small, "packs/0")), []);
      assert.equal(await storage.put("packs/0/2", [randomBytes(1024 * 1024)]), true);
    },
  );

  it("finds what a local storage wrote, and the other way round", async () => {
    const shared = path.join(folder, "shared");
    mkdirSync(shared);
    const [near, far] = [await openStorage(shared), await openStorage(`sftp:127.0.0.1:${shared}`, sshOptions())];
    assert.equal(await near.put("packs/aa/1", [Buffer.from("near")]), true);
    assert.equal(await far.put("packs/aa/1", [Buffer.from("far")]), false);
    assert.equal(await far.put("packs/aa/2", [Buffer.from("far")]), true);
    assert.equal(Buffer.from(await near.get("packs/aa/2")).toString(), "far");
    await far.close();
  });
});

interface Line {
  readonly port: number;
  /** Cuts all connections once so many more bytes have gone through, in both directions together. */
  cutAfterBytes(count: number): void;
  cuts(): number;
}

/** A line to a port of loopback that can be cut. */
async function startLine(t: Cleanup, toPort: number): Promise<Line> {
  const sockets = new Set<Socket>();
  let leftBytes = Infinity;
  let cuts = 0;

  function pass(from: Socket, to: Socket): void {
    sockets.add(from);
    from.on("data", (chunk: Buffer) => {
      leftBytes -= chunk.length;
      if (leftBytes > 0) {
        if (!to.write(chunk)) from.pause();
        return;
      }
      leftBytes = Infinity;
      cuts++;
      for (const socket of sockets) socket.destroy();
    });
    to.on("drain", () => from.resume());
    from.on("end", () => to.end());
    from.on("error", () => to.destroy());
    from.on("close", () => sockets.delete(from));
  }

  const listener = createServer((near) => {
    const far = connect(toPort, "127.0.0.1");
    pass(near, far);
    pass(far, near);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  atEnd(t, () => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return {
    port: (listener.address() as AddressInfo).port,
    cutAfterBytes: (count) => (leftBytes = count),
    cuts: () => cuts,
  };
}
