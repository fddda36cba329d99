/** Hosts that fall silent: at the login, or in a file whose reading never ends. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { BackupResult } from "../../../src/backup/backup.ts";
import { rawPathFromText } from "../../../src/platform/raw-path.ts";
import { openRsyncSource, type RsyncSource } from "../../../src/source/rsync/rsync-source.ts";
import { RsyncFailedError } from "../../../src/source/rsync/protocol/rsync-error.ts";
import { scrambledBytes } from "../../support/awkward-tree.ts";
import { newSavingHost } from "../../support/library-repository.ts";
import { skipUnless } from "../../support/requirements.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const skip = skipUnless({ commands: ["rsync", "mkfifo"] });

test("a login that never comes to its rsync is left, with its last words and what to do", async (t) => {
  const started = path.join(temporaryFolder(t), "started");
  const shell = { command: ["sh", "-c", `echo $$ > ${started}; echo "Which terminal?" >&2; exec sleep 60`] };
  const opening = openRsyncSource({
    remote: { shell, login: "root@web1" },
    paths: ["/srv"],
    greetingMs: 500,
    onProblem: () => undefined,
  });
  await assert.rejects(opening, (error: unknown) => {
    assert.ok(error instanceof RsyncFailedError);
    assert.match(error.message, /^root@web1 let no rsync speak within .* s: Which terminal\?$/);
    assert.match(error.hint ?? "", /log in there with ssh by hand/);
    return true;
  });
  const processFolder = `/proc/${readFileSync(started, "utf8").trim()}`;
  for (let tries = 0; existsSync(processFolder); tries++) {
    assert.ok(tries < 100, "its process is left over");
    await wait(20);
  }
});

const FILES = 20;
const FILE_BYTES = 1_000_000;
const HANGING = 12;
const LONG_AGO = new Date("2026-01-02T03:04:05Z");

test("a file whose reading never ends is named, and the next run goes on from there", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const fileOf = (number: number): string => path.join(folder, `f${String(number).padStart(2, "0")}`);
  for (let number = 0; number < FILES; number++) {
    writeFileSync(fileOf(number), scrambledBytes(`${number}`, FILE_BYTES));
    // Else they are read again because they might have been changed while they were listed.
    utimesSync(fileOf(number), LONG_AGO, LONG_AGO);
  }
  const host = await newSavingHost(t);
  const open = (): Promise<RsyncSource> =>
    openRsyncSource({
      remote: undefined,
      paths: [folder],
      silenceMs: 1000,
      onProblem: ({ error }) => assert.fail(String(error)),
    });
  const save = async (source: RsyncSource): Promise<BackupResult> => {
    try {
      return await host.save(source, { paths: [rawPathFromText(folder)] });
    } finally {
      await source.close();
    }
  };

  const source = await open();
  rmSync(fileOf(HANGING));
  execFileSync("mkfifo", [fileOf(HANGING)]);
  await assert.rejects(save(source), (error: unknown) => {
    assert.ok(error instanceof RsyncFailedError);
    // What it says of a file's end, rsync keeps back until there is more to say.
    const named = [fileOf(HANGING - 1), fileOf(HANGING)];
    assert.ok(
      named.some((file) => error.message.endsWith(`was silent for 1 s when it was to send ${file}`)),
      error.message,
    );
    assert.match(error.hint ?? "", /may hang: a pipe/);
    return true;
  });

  const next = await open();
  const saved = await save(next);
  assert.equal(saved.totalFiles, FILES - 1);
  // The last before it may not have come to its end, or not into the repository.
  const atMost = (FILES - HANGING + 3) * FILE_BYTES;
  assert.ok(next.traffic().literalBytes <= atMost, `${next.traffic().literalBytes}`);
});
