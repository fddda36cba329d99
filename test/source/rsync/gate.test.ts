import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { checkoutFolder, newHoldfast } from "../../support/holdfast.ts";
import { skipUnless } from "../../support/requirements.ts";
import { run } from "../../support/run-command.ts";
import type { CommandResult } from "../../support/run-command.ts";
import { startSshServer } from "../../support/ssh-server.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const GATE = path.join(checkoutFolder, "bin/holdfast-gate");
const skip = skipUnless({ commands: ["rsync", "ssh", "sh"] });

interface Behind {
  readonly folder: string;
  readonly open: string;
  readonly secret: string;
  /** Runs the gate as sshd would, for this command. */
  readonly ask: (command: string) => Promise<CommandResult>;
}

function behindTheGate(t: TestContext, shell: string): Behind {
  const folder = temporaryFolder(t);
  const open = path.join(folder, "open");
  const secret = path.join(folder, "secret");
  for (const each of [open, secret]) mkdirSync(each);
  writeFileSync(path.join(open, "file"), "for the backup\n");
  writeFileSync(path.join(secret, "file"), "TOP SECRET\n");
  symlinkSync(secret, path.join(open, "link"));
  const ask = (command: string): Promise<CommandResult> =>
    run(shell, [GATE, open], { env: { SSH_ORIGINAL_COMMAND: command }, cwd: folder, timeoutMs: 10_000 });
  return { folder, open, secret, ask };
}

const shells = ["dash", "bash"].filter((shell) => skipUnless({ commands: [shell] }) === false);

for (const shell of shells) {
  test(`under ${shell}, the gate refuses all but reading of what it names`, { skip }, async (t) => {
    const { folder, open, secret, ask } = behindTheGate(t, shell);
    const letters = "-lHogDtpAXrRe.LfxCvu";
    const attacks = [
      "",
      "id",
      "sh",
      "rsync",
      `rsync --server ${letters} . ${open}`,
      `rsync --server --sender ${letters} . ${secret}`,
      `rsync --server --sender ${letters} . ${open} ${secret}`,
      `rsync --server --sender ${letters} . ${open}/../secret`,
      `rsync --server --sender ${letters} . ${open}/link/`,
      `rsync --server --sender ${letters} . ${open}/link/file`,
      `rsync --server --sender ${letters} . ${open}/`,
      `rsync --server --sender ${letters} . /`,
      `rsync --server --sender ${letters} .`,
      `rsync --server --sender ${letters}`,
      `rsync --server --sender ${letters} ${open} . ${open}`,
      `rsync --server --sender -L${letters.slice(1)} . ${open}`,
      `rsync --server --sender -k${letters.slice(1)} . ${open}`,
      `rsync --server --sender - . ${open}`,
      `rsync --server --sender --daemon . ${open}`,
      `rsync --server --sender ${letters} --remove-source-files . ${open}`,
      `rsync --server --sender ${letters} --files-from=${secret}/file . ${open}`,
      `rsync --server --sender ${letters} --log-file=${folder}/written . ${open}`,
      `rsync --server --sender ${letters} --copy-links . ${open}`,
      `rsync --server --sender ${letters} --numeric-ids --copy-links . ${open}`,
      `rsync --server --sender -s . ${open}`,
      `rsync --server --sender ${letters} . ${open}; touch ${folder}/written`,
      `rsync --server --sender ${letters} . ${open} && touch ${folder}/written`,
      `rsync --server --sender ${letters} . $(touch ${folder}/written) ${open}`,
      `rsync --server --sender ${letters} . \`touch ${folder}/written\` ${open}`,
      `rsync --server --sender ${letters} . ${open} > ${folder}/written`,
      `rsync --server --sender ${letters} . ${open}\ntouch ${folder}/written`,
      `rsync --server --sender ${letters} . ${open.slice(0, -1)}?`,
      `rsync --server --sender ${letters} . ${folder}/*`,
      `rsync --server --sender ${letters} . ${folder}/{open,secret}`,
      `rsync --server --sender -e${folder}/evil . ${open}`,
      `rsync --server --sender -re.x/../evil . ${open}`,
      `--server --sender ${letters} . ${open}`,
      `/tmp/rsync --server --sender ${letters} . ${open}`,
      `rsync\t--server --sender ${letters} . \\${secret}`,
      `IFS=x rsync --server --sender ${letters} . ${open}`,
      "x".repeat(100_000),
    ];
    for (const attack of attacks) {
      const result = await ask(attack);
      assert.equal(result.status, 1, attack.slice(0, 200));
      assert.equal(result.stdout, "", attack.slice(0, 200));
      assert.match(result.stderr, /^holdfast-gate: refused: /, attack.slice(0, 200));
    }
    assert.deepEqual(readdirSync(folder).toSorted(), ["open", "secret"]);
  });

  test(`under ${shell}, the gate lets rsync through to what it names`, { skip }, async (t) => {
    const { open, ask } = behindTheGate(t, shell);
    for (const options of ["-lHogDtpAXrRe.LfxCvu", "-logDtprR --numeric-ids", "-lHogDtpAXrRxze.LfxCvu"]) {
      const result = await ask(`rsync --server --sender ${options} . ${open}`);
      // It speaks: the first that comes is the version of the protocol.
      assert.ok(result.stdoutBytes.length >= 4 && result.stdoutBytes[0] >= 31, result.stderr);
    }
  });
}

test("with --sudo the gate starts rsync through sudo, and refuses the same", { skip }, async (t) => {
  const { folder, open, secret } = behindTheGate(t, "sh");
  const sudo = path.join(folder, "sudo");
  writeFileSync(sudo, '#!/bin/sh\necho "sudo $*"\n', { mode: 0o755 });
  const gate = path.join(folder, "gate");
  // The gate sets its own PATH, so that nobody else does.
  writeFileSync(gate, readFileSync(GATE, "utf8").replace("PATH=/usr/local/bin", `PATH=${folder}:/usr/local/bin`));
  const ask = (command: string): Promise<CommandResult> =>
    run("sh", [gate, "--sudo", open], { env: { SSH_ORIGINAL_COMMAND: command }, cwd: folder, timeoutMs: 10_000 });
  const read = "rsync --server --sender -logDtprR --numeric-ids .";
  assert.equal(
    (await ask(`${read} ${open}`)).stdout.replace(` --confine-root=${open}`, ""),
    `sudo -n ${read} ${open}\n`,
  );
  for (const attack of [`${read} ${secret}`, `${read} --sudo`, "sudo id", "--sudo id"]) {
    const result = await ask(attack);
    assert.deepEqual([result.status, result.stdout], [1, ""], attack);
  }
});

test("a path that the host lists with a slash at its end is the same path", { skip }, async (t) => {
  const { folder, open, secret } = behindTheGate(t, "sh");
  const read = "rsync --server --sender -logDtprR --numeric-ids .";
  const ask = (command: string): Promise<CommandResult> =>
    run("sh", [GATE, `${open}/`], { env: { SSH_ORIGINAL_COMMAND: command }, cwd: folder, timeoutMs: 10_000 });
  assert.ok((await ask(`${read} ${open}`)).stdoutBytes.length >= 4);
  for (const asked of [secret, folder, `${open}/link`, `${open}/link/`]) {
    assert.equal((await ask(`${read} ${asked}`)).status, 1, asked);
  }
});

test("the host's own list names paths as the server reads it, and nothing besides", { skip }, async (t) => {
  const { folder, open, secret } = behindTheGate(t, "sh");
  const conf = path.join(folder, "backup.conf");
  const gate = path.join(folder, "gate");
  writeFileSync(gate, readFileSync(GATE, "utf8").replaceAll("/etc/backup.conf", conf));
  const read = "rsync --server --sender -logDtprR --numeric-ids .";
  const ask = (asked: string): Promise<CommandResult> =>
    run("sh", [gate], { env: { SSH_ORIGINAL_COMMAND: `${read} ${asked}` }, cwd: folder, timeoutMs: 10_000 });
  for (const text of [
    `${open}\n`,
    `# ours\r\n${open}\r\n`,
    ` \t${open}/ \n`,
    `/srv\n\n${open}`,
    `\ufeff${open}\r\n`,
    `/./.${open}/./.\n`,
    `/${open.replaceAll("/", "//")}/`,
  ]) {
    writeFileSync(conf, text);
    assert.ok((await ask(open)).stdoutBytes.length >= 4, JSON.stringify(text));
    assert.equal((await ask(secret)).status, 1, JSON.stringify(text));
  }
  const none = [
    `${secret} of ours\n`,
    `x ${secret}\n`,
    `# ${secret}\n`,
    `${secret}\t\t/etc\n`,
    "",
    `${secret}*\n`,
    `x\ufeff${secret}`,
    `${secret}/..`,
  ];
  for (const text of none) {
    writeFileSync(conf, text);
    assert.deepEqual([(await ask(secret)).status, (await ask("/etc")).status], [1, 1], JSON.stringify(text));
  }
});

test("a backup goes through the gate over ssh, and nothing else does", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const { open, secret } = behindTheGate(t, "sh");
  const gate = path.join(temporaryFolder(t), "holdfast-gate");
  writeFileSync(gate, `#!/bin/sh\nexec ${GATE} "$@"\n`);
  chmodSync(gate, 0o755);
  server.restrictKey(`restrict,command="${gate} ${open}"`);
  const shell = ["--rsh", ["ssh", ...server.clientOptions].join(" ")];
  await holdfast.ok(["backup", ...shell, `127.0.0.1:${open}`]);
  assert.equal(await holdfast.ok(["dump", "latest", `${open}/file`]), "for the backup\n");
  const refused = await holdfast.run(["backup", ...shell, `127.0.0.1:${secret}`]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /holdfast-gate: refused: path/);
  const shellTry = await run("ssh", [...server.clientOptions, "127.0.0.1", "id"]);
  assert.equal(shellTry.stdout, "");
});
