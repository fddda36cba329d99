/** Hosts without an agent, as people use it: added, tested, pulled from and brought back, over OpenSSH and rsync. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { FleetStatus } from "../../src/fleet/health.ts";
import { apiPath } from "../../src/server/api-client.ts";
import type { MaintenanceRun } from "../../src/server/maintenance-jobs.ts";
import type { Run } from "../../src/fleet/runs.ts";
import { skipUnless } from "../support/requirements.ts";
import { run, runOk } from "../support/run-command.ts";
import { endOfRun, forcedScript, gateLine, pullSite, type PullSite } from "./pull-site.ts";

const skip = skipUnless({ commands: ["ssh", "sshd", "rsync", "diff", "perl"] });
const skipWithoutRoot = skipUnless({ root: true, commands: ["ssh", "sshd", "rsync", "rrsync", "setpriv"] });

async function assertRestores(site: PullSite): Promise<void> {
  const target = path.join(site.folder, "restored");
  rmSync(target, { recursive: true, force: true });
  await site.repository("restore", `latest:${site.files}`, "--target", target);
  await runOk("diff", ["-r", "--no-dereference", site.files, target]);
}

test("a host with nothing but rsync and sshd is added, tested, pulled from, and comes back", { skip }, async (t) => {
  const site = await pullSite(t);
  mkdirSync(path.join(site.files, "folder"));
  writeFileSync(path.join(site.files, "folder/a"), "one");
  // Of several pieces, wherever they are cut: the largest is of 4 MiB.
  writeFileSync(path.join(site.files, "big"), randomBytes(10_000_000));
  await site.admin("policy", "add", "web", "--source", site.files, "--minimum-interval", "0", "--schedule", "every 4h");
  const login = ["--pull", "root@127.0.0.1", "--port", String(site.ssh.port)];
  const said = await site.admin("host", "add", "web1", ...login, "--policy", "web");
  const hostKey = path.join(path.dirname(site.ssh.identityFile), "host_key.pub");
  const fingerprint = (await runOk("ssh-keygen", ["-lf", hostKey])).split(" ")[1];
  assert.ok(said.includes(fingerprint), said);
  const [line] = /restrict,command="\/usr\/local\/bin\/holdfast-gate .*/.exec(said)!;
  assert.ok(line.includes(`holdfast-gate ${site.files}" ssh-ed25519 `));

  const before = await site.adminFails("host", "test", "web1");
  assert.equal(before.status, 1);
  assert.match(before.stdout, /FAILED +root@127\.0\.0\.1 does not know the server's key\n +put this line into/);
  assert.ok(before.stdout.includes(line));
  site.authorize(line);
  const withoutGate = await site.adminFails("host", "test", "web1");
  assert.match(
    withoutGate.stdout,
    /forced command of the server's key cannot be run.*\n +"holdfast host show web1" tells how/,
  );
  site.authorize(line.replace("/usr/local/bin/holdfast-gate", path.resolve("bin/holdfast-gate")));
  assert.match(await site.admin("host", "test", "web1"), /ok +rsync answers[^]*web1 can be pulled from/);

  const first = await site.run("web1");
  assert.deepEqual([first.state, first.files, first.error], ["succeeded", 2, null]);
  assert.ok(first.storedBytes > 10_000_000);
  await assertRestores(site);

  writeFileSync(path.join(site.files, "folder/a"), "changed");
  appendFileSync(path.join(site.files, "big"), "and a little more");
  const second = await site.run("web1");
  assert.equal(second.state, "succeeded");
  assert.ok(bytesCame(second.log) < 60_000, second.log);
  assert.ok(second.storedBytes < 4_300_000);
  await assertRestores(site);

  const status = JSON.parse(await site.admin("status", "--json")) as FleetStatus;
  assert.deepEqual([status.health, status.hosts[0].snapshots], ["ok", 2], JSON.stringify(status));
  assert.ok(status.hosts[0].nextRunMs! > Date.now());
  for (const job of [["retention"], ["check"], ["drill", "--host", "web1"]]) await site.admin("runs", "start", ...job);
  assert.deepEqual(
    (await maintenance(site, 3)).map(({ kind, state, error }) => [kind, state, error]),
    [
      ["drill", "succeeded", null],
      ["check", "succeeded", null],
      ["retention", "succeeded", null],
    ],
  );
});

async function maintenance(site: PullSite, count: number): Promise<MaintenanceRun[]> {
  for (let tries = 0; tries < 600; tries++) {
    const jobs = await site.api.call<MaintenanceRun[]>("GET", "/v1/maintenance");
    if (jobs.length === count && jobs.every(({ state }) => state !== "running")) return jobs;
    await wait(100);
  }
  throw new Error("maintenance does not end");
}

function bytesCame(log: string): number {
  return Number(/(\d+) bytes came/.exec(log)?.[1] ?? Infinity);
}

const OLD_COMMAND = (files: string): string => `case "$SSH_ORIGINAL_COMMAND" in
  *[\\&\\(\\{\\;\\<\\\`]*) echo refused >&2; exit 1 ;;
  "rsync --server --sender -logDtprR --numeric-ids . ${files}") exec $SSH_ORIGINAL_COMMAND ;;
  *) echo refused >&2; exit 1 ;;
esac`;

test(
  "pulls through each kind of forced command, and tells what an old one leaves out",
  { skip: skipWithoutRoot },
  async (t) => {
    const site = await pullSite(t);
    writeFileSync(path.join(site.files, "a"), "one");
    const installation = await site.addHost("web1");
    const lines: [line: string, tested: RegExp, form: string][] = [
      [gateLine(installation), /^ok /, "full"],
      [installation.rrsyncLine, /^ok /, "full"],
      [
        forcedScript(site, installation, OLD_COMMAND(site.files)),
        /^warning rsync answers, but only .* plainest/,
        "plain",
      ],
      [installation.key, /^ok /, "full"],
    ];
    for (const [line, tested, form] of lines) {
      site.authorize(line);
      const { findings, form: found } = await site.test("web1");
      assert.equal(found, form, JSON.stringify(findings));
      assert.match(`${findings.at(-1)!.state} ${findings.at(-1)!.text}`, tested, line);
      const isFree = findings.some(({ text }) => /may do everything/.test(text));
      assert.equal(isFree, line === installation.key);
      writeFileSync(path.join(site.files, "a"), `by ${line}`);
      const pulled = await site.run("web1");
      assert.equal(pulled.state, "succeeded", pulled.error ?? "");
      await assertRestores(site);
    }
  },
);

test("the test of a host says in words what is missing, and what to do", { skip: skipWithoutRoot }, async (t) => {
  const site = await pullSite(t);
  chmodSync(site.folder, 0o755);
  mkdirSync(path.join(site.files, "private"), { mode: 0o700 });
  const installation = await site.addHost("web1");
  const gate = gateLine(installation);
  const noRsync = 'PATH=/nowhere; export PATH; /bin/sh -c "$SSH_ORIGINAL_COMMAND"';
  const cases: [line: string, state: string, text: RegExp, hint: RegExp][] = [
    [forcedScript(site, installation, noRsync), "failed", /rsync is not installed on web1/, /install it there/],
    [
      gate.replace(site.files, "/srv/other"),
      "failed",
      /the forced command on web1 refuses .*holdfast-gate: refused: path/,
      /let it allow the paths: restrict,command="\S+ \/.*files"/,
    ],
    [
      gate.replace('command="', 'command="setpriv --reuid=65534 --clear-groups '),
      "warning",
      /cannot be read: .*private.*Permission denied/,
      /^$/,
    ],
  ];
  for (const [line, state, text, hint] of cases) {
    site.authorize(line);
    const { findings } = await site.test("web1");
    const found = findings.find((finding) => finding.state === state && text.test(finding.text));
    assert.ok(found, JSON.stringify(findings));
    assert.match(found.hint ?? "", hint);
  }
  site.authorize(gate);
  await site.admin("policy", "edit", "of-web1", "--exclude", path.basename(site.folder));
  const excluded = (await site.test("web1")).findings.at(-1)!;
  assert.deepEqual([excluded.state, /policy edit of-web1/.test(excluded.hint ?? "")], ["failed", true]);
  assert.match(excluded.text, /the policy "of-web1" excludes .*files, or a folder above it/);
  const emptied = await site.run("web1");
  assert.deepEqual([emptied.state, emptied.snapshot], ["failed", null]);
  assert.match(emptied.error ?? "", /all that was named is excluded/);
  await site.admin("policy", "edit", "of-web1", "--exclude", "none");
  symlinkSync(site.files, path.join(site.folder, "link"));
  await site.admin("policy", "edit", "of-web1", "--source", path.join(site.folder, "link"));
  site.authorize(installation.rrsyncLine);
  const linked = (await site.test("web1")).findings.at(-1)!;
  assert.deepEqual([linked.state, linked.hint], ["warning", "name the folder to which it leads"]);
  assert.match(linked.text, /\/link is a symbolic link there/);
  site.authorize(gate);
  await site.admin("policy", "edit", "of-web1", "--source", "/srv/with blank");
  const odd = (await site.test("web1")).findings.at(-1)!;
  assert.match(odd.text, /holdfast-gate on web1 can take no path with blanks .* \/srv\/with blank/);
  assert.match(odd.hint!, /restrict,command="rrsync -ro \/"/);
  await site.admin("policy", "edit", "of-web1", "--source", site.files);
  const winding = await site.adminFails("policy", "edit", "of-web1", "--source", "/srv/../etc");
  assert.match(winding.stderr, /has a part "\.\."/);
  const again = await site.adminFails(
    "host",
    "add",
    "web1",
    "--pull",
    "root@127.0.0.1",
    "--port",
    String(site.ssh.port),
  );
  assert.match(again.stderr, /a host "web1" already\n +"holdfast host edit web1"/);

  rmSync(site.files, { recursive: true });
  const gone = (await site.test("web1")).findings.at(-1)!;
  assert.equal(gone.state, "failed");
  assert.match(gone.text, /nothing of what is to be saved can be read on web1: .*No such file or directory/);

  await site.admin("host", "edit", "web1", "--port", "1");
  assert.match((await site.test("web1")).findings.at(-1)!.text, /nothing listens on port 1 of web1/);
  await site.admin("host", "edit", "web1", "--pull", "root@nowhere.invalid");
  assert.match((await site.test("web1")).findings.at(-1)!.text, /there is no host of that name|cannot reach/);
  const badLogin = await site.adminFails("host", "edit", "web1", "--pull", "-oProxyCommand=id");
  assert.match(badLogin.stderr, /is no login/);
});

test(
  "a host key that is another one than the pinned stops everything, until a person says that it is right",
  { skip },
  async (t) => {
    const site = await pullSite(t);
    writeFileSync(path.join(site.files, "a"), "one");
    const installation = await site.addHost("web1");
    site.authorize(gateLine(installation));
    const other = await pullSite(t);
    other.authorize(gateLine(installation));
    await site.admin("host", "edit", "web1", "--port", String(other.ssh.port));
    const { findings } = await site.test("web1");
    assert.match(findings[0].text, /shows another host key than the one that was pinned/);
    const refused = await site.run("web1");
    assert.equal(refused.state, "failed");
    assert.match(refused.error ?? "", /Host key verification failed/);
    assert.match(refused.error ?? "", /holdfast host edit NAME --new-host-key/);
    const hostKey = path.join(path.dirname(other.ssh.identityFile), "host_key.pub");
    const fingerprint = (await runOk("ssh-keygen", ["-lf", hostKey])).split(" ")[1];
    const edited = await site.admin("host", "edit", "web1", "--new-host-key");
    assert.ok(edited.includes(`its host key is pinned: ${fingerprint}`), edited);
    assert.equal((await site.run("web1")).state, "succeeded");
  },
);

test(
  "what is saved can be the host's own to say, by a second key, and it can say nothing but paths",
  { skip },
  async (t) => {
    const site = await pullSite(t);
    for (const name of ["a", "b", "c"]) {
      mkdirSync(path.join(site.files, name));
      writeFileSync(path.join(site.files, name, "file"), name);
    }
    const installation = await site.addHost("web1", ["--paths-from", "host"]);
    assert.match(installation.gateLine!, /command="\S*holdfast-gate" /);
    const conf = path.join(site.folder, "backup.conf");
    const paths = installation.pathsLine!.replace("/etc/backup.conf", conf);
    // The gate looks into /etc, which is the test machine's own.
    const files = installation.rrsyncLine;
    site.authorize(files);
    assert.match(
      (await site.test("web1")).findings.at(-1)!.hint!,
      /put this line into authorized_keys there: restrict,command="cat/,
    );
    site.authorize(files, paths);
    assert.match((await site.run("web1")).error ?? "", /backup\.conf of web1 cannot be read: .*No such file/);

    writeFileSync(conf, `# what we have\n\n${site.files}/a\n  ${site.files}/c/ \n${site.files}/c/file\n`);
    const pulled = await site.run("web1");
    assert.equal(pulled.state, "succeeded", pulled.error ?? "");
    assert.ok(pulled.log.includes(`pulling ${site.files}/a ${site.files}/c from`), pulled.log);
    const listed = await site.repository("ls", "latest");
    assert.ok(listed.includes("/a/file") && listed.includes("/c/file") && !listed.includes("/b"), listed);

    const marker = path.join(site.folder, "written");
    const attacks = [
      "--rsh=touch",
      `$(touch ${marker})`,
      `/../..${site.files}/b`,
      `;touch ${marker}`,
      `/a\u0000b`,
      "relative/path",
      `-e`,
      `web2:/etc`,
    ];
    writeFileSync(conf, `${attacks.join("\n")}\n/$(touch ${marker})\n/x;touch ${marker}\n${site.files}/a\n`);
    const attacked = await site.run("web1");
    assert.equal(attacked.state, "incomplete");
    for (let lineNumber = 1; lineNumber <= attacks.length; lineNumber++) {
      assert.ok(attacked.log.includes(`line ${lineNumber} of /etc/backup.conf is no full path`), attacked.log);
    }
    assert.throws(() => readFileSync(marker));
    assert.ok((await site.repository("ls", "latest")).includes("/a/file"));

    writeFileSync(conf, Buffer.alloc(3_000_000, `${site.files}/a\n`));
    assert.match((await site.run("web1")).error ?? "", /is longer than \d+ bytes/);
    writeFileSync(conf, "# nothing\n");
    assert.match((await site.run("web1")).error ?? "", /names nothing to save/);
  },
);

test(
  "what fails while the host's list is still coming is told as what it is, and leaves nothing behind",
  { skip },
  async (t) => {
    const site = await pullSite(t);
    for (let number = 0; number < 20; number++) writeFileSync(path.join(site.files, `f${number}`), randomBytes(10_000));
    const installation = await site.addHost("web1");
    site.authorize(gateLine(installation));
    assert.equal((await site.run("web1")).state, "succeeded");
    const repository = path.join(site.data, "repositories/default");
    const notes = (): readonly string[] => readdirSync(path.join(repository, "running"));
    const untilNoSsh = async (): Promise<void> => {
      for (let tries = 0; commandLines().some((line) => line.includes(`-p${site.ssh.port}`)); tries++) {
        assert.ok(tries < 100, "an ssh is left over");
        await wait(50);
      }
    };

    site.authorize("# nobody");
    const refused = await site.run("web1");
    assert.equal(refused.state, "failed");
    assert.match(refused.error ?? "", /cannot log in to .*Permission denied/);
    assert.deepEqual(notes(), []);
    await untilNoSsh();

    site.authorize(forcedScript(site, installation, "sleep 60"));
    renameSync(repository, `${repository}.away`);
    const homeless = await site.run("web1");
    assert.equal(homeless.state, "failed");
    assert.match(homeless.error ?? "", /repositories\/default/);
    await untilNoSsh();
    renameSync(`${repository}.away`, repository);

    site.authorize(gateLine(installation));
    const next = await site.run("web1");
    assert.equal(next.state, "succeeded", next.error ?? "");
    assert.ok(bytesCame(next.log) < 5000, next.log);
    assert.deepEqual(notes(), []);
  },
);

/** Of all processes. */
function commandLines(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((id) => contentOf(`/proc/${id}/cmdline`).replaceAll("\0", " "));
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // It has ended meanwhile.
    return "";
  }
}

/** Lets 20 MB through, and then cuts the connection. */
const CUT =
  "$left = 20e6; while ($left > 0 && sysread(STDIN, $b, 65536)) { syswrite(STDOUT, $b); $left -= length $b } " +
  "kill 9, $ARGV[0];";

test("a pull that breaks off goes on where it was, without fetching again what came", { skip }, async (t) => {
  const site = await pullSite(t);
  for (let number = 0; number < 100; number++) writeFileSync(path.join(site.files, `f${number}`), randomBytes(250_000));
  const installation = await site.addHost("web1");
  site.authorize(forcedScript(site, installation, `line=$PPID; $SSH_ORIGINAL_COMMAND | perl -e '${CUT}' $line`));
  const broken = await site.run("web1");
  assert.equal(broken.state, "failed", broken.log);
  assert.match(broken.error ?? "", /closed before the end|rsync on/);
  site.authorize(
    forcedScript(site, installation, "printf 'rsync: \\033[31mgone\\033]0;title\\007 mad\\n' >&2; exit 3"),
  );
  const rude = await site.run("web1");
  assert.match(rude.error ?? "", /\?\[31mgone\?\]0;title\? mad/);
  site.authorize(gateLine(installation));
  const whole = await site.run("web1");
  assert.equal(whole.state, "succeeded", whole.error ?? "");
  assert.ok(bytesCame(whole.log) < 12_000_000, whole.log);
  assert.ok(whole.storedBytes < 12_000_000, `${whole.storedBytes}`);
  await assertRestores(site);
});

test(
  "a server that is killed takes its pulls with it, and the next one goes on; two never overlap",
  { skip },
  async (t) => {
    const site = await pullSite(t);
    for (let number = 0; number < 20; number++)
      writeFileSync(path.join(site.files, `f${number}`), randomBytes(100_000));
    const installation = await site.addHost("web1");
    const started = path.join(site.folder, "started");
    const slow = `echo $$ >> ${started}; $SSH_ORIGINAL_COMMAND | (head -c 500000; sleep 60)`;
    site.authorize(forcedScript(site, installation, slow));
    const runPath = apiPath(["hosts", "web1", "run"]);
    const { run: first } = await site.api.call<{ run: Run }>("POST", runPath);
    while (!started.length || !exists(started)) await wait(20);
    const again = await site.api.call<{ run: Run }>("POST", runPath);
    assert.equal(again.run.id, first.id);
    await site.kill("SIGKILL");
    await site.start();
    assert.equal((await endOfRun(site.api, first.id)).state, "failed");
    site.authorize(gateLine(installation));
    // It waits for the process of the dead server, if that is still on its way out.
    const next = await site.run("web1");
    assert.equal(next.state, "succeeded", next.error ?? "");
    await assertRestores(site);
    assert.equal(readFileSync(started, "utf8").trim().split("\n").length, 1);

    // Stopped in order, it ends its pulls at once.
    site.authorize(forcedScript(site, installation, slow));
    writeFileSync(path.join(site.files, "more"), randomBytes(2_000_000));
    const { run: stopped } = await site.api.call<{ run: Run }>("POST", runPath);
    while (readFileSync(started, "utf8").trim().split("\n").length < 2) await wait(20);
    await site.kill("SIGTERM");
    await site.start();
    const ended = await endOfRun(site.api, stopped.id);
    assert.equal(ended.state, "failed");
    assert.match(ended.error ?? "", /the server was stopped/);
  },
);

function exists(file: string): boolean {
  try {
    readFileSync(file);
    return true;
  } catch {
    return false;
  }
}

test(
  "a host on which nothing changed costs its list and little else, on a server that cannot read too",
  { skip },
  async (t) => {
    const site = await pullSite(t);
    const script =
      "for my $d (0..4) { mkdir qq($d); for (0..999) { open my $f, q(>), qq($d/some-name-$_); print $f $_ } }";
    await runOk("perl", ["-e", script], { cwd: site.files });
    await site.admin("account", "add", "blind", "--owner-key", "--json");
    const installation = await site.addHost("web1", ["--account", "blind"]);
    site.authorize(gateLine(installation));
    const first = await site.run("web1");
    assert.deepEqual([first.state, first.files], ["succeeded", 5000], first.error ?? "");
    const second = await site.run("web1");
    assert.equal(second.state, "succeeded");
    assert.ok(bytesCame(second.log) < 5000 * 30, second.log);
    assert.match(second.log, /, \d{1,3} were sent/);
    assert.ok(second.storedBytes < 10_000, `${second.storedBytes}`);
  },
);

test(
  "quotas hold for pulls, a suspended host is not pulled, and a lost database loses no settings",
  { skip },
  async (t) => {
    const site = await pullSite(t);
    writeFileSync(path.join(site.files, "a"), randomBytes(3_000_000));
    const installation = await site.addHost("web1", ["--quota", "1M"]);
    site.authorize(gateLine(installation));
    const refused = await site.run("web1");
    assert.equal(refused.state, "refused");
    assert.match(refused.error ?? "", /has used up its quota \(.*host edit web1 --quota/);
    await site.admin("host", "edit", "web1", "--quota", "1G", "--suspend");
    await assert.rejects(site.run("web1"), /suspended/);
    await site.admin("host", "edit", "web1", "--resume");
    assert.equal((await site.run("web1")).state, "succeeded");

    await site.kill("SIGTERM");
    for (const ending of ["", "-wal", "-shm"])
      rmSync(path.join(site.data, `holdfast.sqlite${ending}`), { force: true });
    await site.start();
    const after = await site.run("web1");
    assert.equal(after.state, "succeeded", after.error ?? "");
    assert.ok(bytesCame(after.log) < 5000, after.log);
    const agent = await run(path.resolve("bin/holdfast"), ["enrol", "--host", "web1", "--data", site.data], {
      input: JSON.stringify({ signingKey: Buffer.alloc(32).toString("base64"), sshKey: installation.key }),
    });
    assert.match(agent.stderr, /the server pulls from the host "web1": it needs no agent/);
  },
);
