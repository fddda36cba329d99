import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { RsyncRefusedError } from "./rsync-error.ts";
import { parseServerArguments, splitCommand } from "./server-arguments.ts";

const parse = (command: string) => parseServerArguments(splitCommand(command).slice(1));

describe("arguments of rsync --server", () => {
  it("understands what rsync 3.5 sends for -aHAX --numeric-ids", () => {
    const parsed = parse("rsync --server -lHogDtpAXre.iLsfxCIvu --numeric-ids . .");
    assert.equal(parsed.isSender, false);
    for (const name of [
      "symlinks",
      "hardLinks",
      "owners",
      "groups",
      "devices",
      "specials",
      "times",
      "permissions",
    ] as const) {
      assert.equal(parsed[name], true, name);
    }
    assert.deepEqual([parsed.acls, parsed.xattrs, parsed.recursive, parsed.numericIds], [true, true, true, true]);
    assert.equal(parsed.capabilities, "iLsfxCIvu");
    assert.deepEqual(parsed.paths, [{ text: ".", glob: undefined }]);
  });

  it("understands what a fetch sends, with names that a shell would have taken apart", () => {
    const parsed = parse(
      "rsync --server --sender -vlogDtpRze.iLsfxCIvu --files-from=- --from0 . latest/my\\ docs/ a\\*b *.c",
    );
    assert.equal(parsed.isSender, true);
    assert.equal(parsed.filesFrom, true);
    assert.equal(parsed.compress, true);
    assert.deepEqual(parsed.paths, [
      { text: "latest/my docs/", glob: undefined },
      { text: "a*b", glob: undefined },
      { text: "*.c", glob: "*.c" },
    ]);
  });

  it("leaves to a client that fetches what it does at its own end", () => {
    const parsed = parse("rsync --server --sender -ubde. --backup-dir old --suffix=~ --ignore-existing . x");
    assert.deepEqual(
      parsed.paths.map(({ text }) => text),
      ["x"],
    );
  });

  it("takes folders in a list of names as such, without -r", () => {
    assert.equal(parse("rsync --server --sender -lRe. --files-from=- . x").directories, true);
    assert.equal(parse("rsync --server --sender -lRe. . x").directories, false);
  });

  it("knows what takes a further word and what does not", () => {
    const parsed = parse(
      "rsync --server -logDtpre.LsfxCIvu --partial-dir .part --timeout=30 --delete --max-size=1.5m . x",
    );
    assert.equal(parsed.timeoutSeconds, 30);
    assert.equal(parsed.deletes, true);
    assert.equal(parsed.maximumBytes, 1.5 * 1024 * 1024);
    assert.deepEqual(
      parsed.paths.map(({ text }) => text),
      ["x"],
    );
  });

  const refused = [
    "rsync --server -blogDtpre.LsfxCIvu . .",
    "rsync --server --sender -Llogre.LsfxCIvu . x",
    "rsync --server -re. --append . .",
    "rsync --server -re. --link-dest ../x . .",
    "rsync --server -re. --remove-source-files . .",
    "rsync --server -re. --iconv=utf8 . .",
    "rsync --server -re. --unheard-of . .",
    "rsync --server -r§ . .",
    "rsync --server -re. --timeout=1e99 . .",
    "rsync --server -re. --checksum-choice=none . .",
    "rsync --daemon",
    "rsync -a x y",
    "rsync --server -re. . $(reboot)",
    "rsync --server -re. . x; reboot",
    "rsync --server -re. . `reboot`",
    'rsync --server -re. . "$HOME"',
    "rsync --server -re. . x | cat",
    "rsync --server -re. . 'x",
  ];
  it("understands enough of what it refuses to greet the client, and so to tell it", () => {
    const parsed = parse("rsync --server -blogDtpre.LsfxCIvu --compress-choice=lz4 --link-dest ../x . y");
    assert.equal(parsed.capabilities, "LsfxCIvu");
    assert.equal(parsed.compressChoice, "none");
    assert.match(parsed.refusal?.message ?? "", /older versions are kept in older snapshots/);
  });

  for (const command of refused) {
    it(`refuses ${command}`, () => {
      assert.throws(() => {
        const { refusal } = parse(command);
        if (refusal !== undefined) throw refusal;
      }, RsyncRefusedError);
    });
  }
});
