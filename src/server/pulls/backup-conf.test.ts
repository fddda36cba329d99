import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseBackupConf, withoutNested } from "./backup-conf.ts";

const parse = (text: string) => parseBackupConf(Buffer.from(text, "utf8"));

test("takes one full path a line, and passes over comments and empty lines", () => {
  const { paths, problems } = parse("# what matters\n\n/srv//www/\r\n  /etc \n/home/ann/my files\n/é\n/etc\n");
  assert.deepEqual(paths, ["/etc", "/home/ann/my files", "/srv/www", "/é"]);
  assert.deepEqual(problems, []);
});

test("names each line that is no full path, and takes the others", () => {
  const bad = ["etc", "-e sh", "web2:/etc", "/a/../b", "/a\0b", "/a\tb", "$(id)", `/${"x".repeat(5000)}`];
  const { paths, problems } = parse(`/etc\n${bad.join("\n")}`);
  assert.deepEqual(paths, ["/etc"]);
  assert.deepEqual(
    problems.map((problem) => /^line (\d+) /.exec(problem)?.[1]),
    bad.map((_, index) => String(index + 2)),
  );
  assert.equal(parseBackupConf(Buffer.from("/\xff\n", "latin1")).problems.length, 1);
});

test("takes a thousand paths and no more", () => {
  const { paths, problems } = parse(Array.from({ length: 3000 }, (_, index) => `/p${index}`).join("\n"));
  assert.equal(paths.length, 1000);
  assert.deepEqual(problems, ["/etc/backup.conf names more than 1000 paths: those from line 1001 on are left out"]);
});

test("leaves out what lies below another path", () => {
  assert.deepEqual(withoutNested(["/home/ann/x", "/home", "/home2", "/etc", "/etc"]), ["/etc", "/home", "/home2"]);
  assert.deepEqual(withoutNested(["/etc", "/", "/home"]), ["/"]);
});

test("whatever a host writes, what comes out are full paths without tricks, and few", () => {
  const line = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string().map((text) => `/${text}`),
    fc.constant("/../.."),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 50 }), (lines) => {
      const { paths } = parse(lines.join("\n"));
      for (const path of paths) {
        assert.match(path, /^\/[^\0\r\n]*$/);
        assert.ok(!path.split("/").includes(".."));
      }
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => parseBackupConf(bytes).paths.length <= 300));
});
