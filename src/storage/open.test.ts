import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { NoRepositoryError, UsageError } from "../errors.ts";
import { createStorage, openStorage, parseStorageUrl } from "./open.ts";

describe("the place of a repository", () => {
  const local = (path: string) => ({ kind: "local", path });
  const sftp = (host: string, path: string, user?: string, port?: number) => ({ kind: "sftp", host, user, port, path });
  const understood: [string, object][] = [
    ["/srv/backup", local("/srv/backup")],
    ["backup", local("backup")],
    ["./with:colon", local("./with:colon")],
    ["/srv/with:colon", local("/srv/with:colon")],
    ["../backup", local("../backup")],
    ["local:/srv/backup", local("/srv/backup")],
    ["local:with:colon", local("with:colon")],
    ["file:/srv/backup", local("/srv/backup")],
    ["file:///srv/my%20backup", local("/srv/my backup")],
    ["file:backup", local("backup")],
    ["sftp:host:/srv/backup", sftp("host", "/srv/backup")],
    ["sftp:ann@host.example:/srv/backup/", sftp("host.example", "/srv/backup", "ann")],
    ["sftp:ann@host:backup", sftp("host", "backup", "ann")],
    ["sftp:ann@mail.example@host:backup", sftp("host", "backup", "ann@mail.example")],
    ["sftp:ann@[2001:db8::1]:/srv", sftp("2001:db8::1", "/srv", "ann")],
    ["sftp:host:/", sftp("host", "/")],
    ["sftp://host//srv/backup", sftp("host", "/srv/backup")],
    ["sftp://ann@host:2222/backup", sftp("host", "backup", "ann", 2222)],
    ["sftp://ann%40mail.example@[::1]:22//srv/a%20b", sftp("::1", "/srv/a b", "ann@mail.example", 22)],
    ["SFTP:host:/srv", sftp("host", "/srv")],
  ];
  for (const [url, place] of understood) {
    it(`is understood from ${url}`, () => assert.deepEqual({ ...parseStorageUrl(url) }, place));
  }

  const s3Places: [string, string, string, string][] = [
    ["s3:s3.amazonaws.com/bucket", "https://s3.amazonaws.com", "bucket", ""],
    ["s3:https://host:9000/bucket/deep/er/", "https://host:9000", "bucket", "deep/er"],
    ["s3:http://127.0.0.1:9000/bucket/x", "http://127.0.0.1:9000", "bucket", "x"],
    ["s3://host/bucket//x", "https://host", "bucket", "x"],
    ["s3:[::1]:9000/bucket", "https://[::1]:9000", "bucket", ""],
  ];
  for (const [url, origin, bucket, prefix] of s3Places) {
    it(`is understood from ${url}`, () => {
      const place = parseStorageUrl(url);
      assert.ok(place.kind === "s3");
      assert.deepEqual([place.endpoint.origin, place.bucket, place.prefix], [origin, bucket, prefix]);
    });
  }

  const refused = [
    "",
    "local:",
    "file:",
    "file://elsewhere/srv",
    "sftp:",
    "sftp:host",
    "sftp:host:",
    "sftp:/srv/backup",
    "sftp://host",
    "sftp://host/",
    "sftp://host:port/srv",
    "sftp://host:0/srv",
    "sftp://host:65536/srv",
    "sftp://host/%zz",
    "sftp:-oProxyCommand=touch:/srv",
    "sftp:-oProxyCommand=touch@host:/srv",
    "sftp://-oProxyCommand=touch//srv",
    "sftp://%2doProxyCommand=touch@host//srv",
    "s3:",
    "s3:host",
    "s3:https://host/",
    "s3:https://user:secret@host/bucket",
    "s3:https://ho st/bucket",
    "rclone:remote:path",
    "user@host:/srv",
  ];
  for (const url of refused) {
    it(`is refused with what to write instead: ${url}`, async () => {
      await assert.rejects(openStorage(url), UsageError);
      await assert.rejects(createStorage(url), UsageError);
    });
  }

  it("is made by creating, and not by opening", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "holdfast-open-"));
    t.after(() => rm(folder, { recursive: true }));
    const url = pathToFileURL(join(folder, "a b")).href;
    await assert.rejects(openStorage(url), NoRepositoryError);
    const created = await createStorage(url);
    await created.put("config", [Buffer.from("content")]);
    assert.equal(await readFile(join(folder, "a b", "config"), "utf8"), "content");
    const opened = await openStorage(`local:${join(folder, "a b")}`);
    assert.equal(Buffer.from(await opened.get("config")).toString(), "content");
  });
});
