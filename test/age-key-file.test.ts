import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { decryptKeyFile, encryptKeyFile } from "../src/crypto/key-file.ts";
import { createKeyRing, decodeKeyRing, encodeKeyRing } from "../src/crypto/key-ring.ts";

const skip = missing("age") ?? missing("age-keygen") ?? missing("script") ?? false;

function missing(program: string): string | undefined {
  return spawnSync(program, ["--version"]).error === undefined ? undefined : `the program ${program} is not installed`;
}

const folder = mkdtempSync(join(tmpdir(), "holdfast-age-"));
after(() => rmSync(folder, { recursive: true }));

const RING = createKeyRing(Buffer.alloc(16, 3));

/** Runs age on a terminal of its own, as it asks for a passphrase nowhere else, and types the passphrase. */
function ageOnTerminal(command: string, passphrase: string, times: number): void {
  const result = spawnSync("script", ["-qefc", command, "/dev/null"], {
    cwd: folder,
    input: `${passphrase}\n`.repeat(times),
    timeout: 60_000,
  });
  assert.equal(result.status, 0, result.stdout.toString());
}

test("the age program opens a key file with its passphrase", { skip }, async () => {
  writeFileSync(join(folder, "key.age"), await encryptKeyFile(RING, "tower", { passphrase: "tall tree" }));
  ageOnTerminal("age -d -o ring.json key.age", "tall tree", 1);
  const { ring, notes } = decodeKeyRing(readFileSync(join(folder, "ring.json")));
  assert.deepEqual(ring, RING);
  assert.equal(notes.label, "tower");
});

test("a key file that the age program made for a passphrase opens", { skip }, async () => {
  writeFileSync(join(folder, "plain.json"), encodeKeyRing(RING, { label: "made by age" }));
  ageOnTerminal("age -p -o made.age plain.json", "short fern", 2);
  const opened = await decryptKeyFile(readFileSync(join(folder, "made.age")), { passphrase: "short fern" });
  assert.deepEqual(opened, { ring: RING, label: "made by age", created: "" });
});

test("the age program and Holdfast open each other's files for a recipient", { skip }, async () => {
  execFileSync("age-keygen", ["-o", "identity.txt"], { cwd: folder, stdio: "ignore" });
  const recipient = execFileSync("age-keygen", ["-y", "identity.txt"], { cwd: folder }).toString().trim();
  const identity = /^AGE-SECRET-KEY-1.*$/m.exec(readFileSync(join(folder, "identity.txt"), "utf8"))![0];

  writeFileSync(join(folder, "ours.age"), await encryptKeyFile(RING, "", { recipients: [recipient] }));
  const printed = execFileSync("age", ["-d", "-i", "identity.txt", "ours.age"], { cwd: folder });
  assert.deepEqual(decodeKeyRing(printed).ring, RING);

  execFileSync("age", ["-r", recipient, "-o", "theirs.age"], { cwd: folder, input: encodeKeyRing(RING) });
  const opened = await decryptKeyFile(readFileSync(join(folder, "theirs.age")), { identities: [identity] });
  assert.deepEqual(opened.ring, RING);
});
