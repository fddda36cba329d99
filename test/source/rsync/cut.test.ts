/** A real rsync that pushes and fetches, over a line that is cut after each message and in the middle of it. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import path from "node:path";
import { PassThrough, Transform } from "node:stream";
import { test } from "node:test";
import { serveFetch } from "../../../src/browse/rsync/serve-fetch.ts";
import { madeUpFile, madeUpFolder, madeUpSnapshot } from "../../../src/browse/testing/memory-snapshot.ts";
import { acceptPush } from "../../../src/source/rsync/index.ts";
import type { ServerTransport } from "../../../src/source/rsync/index.ts";
import type { Cleanup } from "../../support/at-end.ts";
import { atEnd } from "../../support/at-end.ts";
import { scrambledBytes } from "../../support/awkward-tree.ts";
import { skipUnless } from "../../support/requirements.ts";
import { run, type CommandResult } from "../../support/run-command.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const skip = skipUnless({ commands: ["rsync", "perl"] });
/** More would show nothing new. */
const MOST_CUTS = 24;

/** Joins its standard input and output with a socket, as ssh does with a connection. rsync gives it pipes that never block. */
const JOIN = `
use IO::Socket::UNIX; use IO::Select; use IO::Handle; STDOUT->blocking(1);
my $s = IO::Socket::UNIX->new($ARGV[0]) or die; syswrite($s, join(" ", @ARGV[2..$#ARGV]) . "\\n");
my $in = IO::Select->new($s, \\*STDIN);
while (my @ready = $in->can_read) { for my $from (@ready) {
  my $n = sysread($from, my $b, 65536);
  if (!$n) { exit 0 if $from == $s; $in->remove($from); $s->shutdown(1); next }
  my $to = $from == $s ? \\*STDOUT : $s; my $at = 0;
  while ($at < $n) { my $w = syswrite($to, $b, $n - $at, $at); exit 1 unless $w; $at += $w }
} }`;

type Answer = (transport: ServerTransport, command: string) => Promise<number>;

interface Line {
  /** Runs rsync over a line of which so many bytes come through in one direction; tells where its messages ended. */
  rsync(cutAfter: number, ...args: string[]): Promise<CommandResult & { readonly ends: readonly number[] }>;
}

/** `cut`: the direction in which bytes count. */
async function line(t: Cleanup, cut: "to server" | "from server", answer: Answer): Promise<Line> {
  const folder = temporaryFolder(t);
  const socketPath = path.join(folder, "s");
  const shell = path.join(folder, "shell");
  writeFileSync(path.join(folder, "join.pl"), JOIN);
  writeFileSync(shell, `#!/bin/sh\nexec perl ${folder}/join.pl ${socketPath} "$@"\n`, { mode: 0o755 });
  let left = Infinity;
  let ends: number[] = [];
  const server = createServer((socket) => void serve(socket).catch(() => socket.destroy()));
  server.listen(socketPath);
  atEnd(t, () => new Promise<void>((resolve) => server.close(() => resolve())));

  async function serve(socket: Socket): Promise<void> {
    socket.on("error", () => undefined);
    const through = (counts: boolean): Transform => {
      let passed = 0;
      return new Transform({
        transform(chunk: Buffer, _encoding, done) {
          const part = counts ? chunk.subarray(0, Math.max(0, left - passed)) : chunk;
          passed += part.length;
          if (counts) ends.push(passed);
          done(null, part);
          if (part.length < chunk.length) setImmediate(() => socket.destroy());
        },
      });
    };
    const input = through(cut === "to server");
    const output = through(cut === "from server");
    let command = "";
    const header = (chunk: Buffer): void => {
      command += chunk.toString("latin1");
      const end = command.indexOf("\n");
      if (end < 0) return;
      socket.off("data", header);
      input.write(Buffer.from(command.slice(end + 1), "latin1"));
      socket.pipe(input);
      output.pipe(socket);
      const complaints = new PassThrough().resume();
      void answer({ input, output, complaints }, command.slice(0, end)).then(() => output.end());
    };
    socket.on("data", header);
    socket.on("close", () => {
      input.destroy();
      output.destroy();
    });
  }

  return {
    async rsync(cutAfter, ...args) {
      left = cutAfter;
      ends = [];
      const result = await run("rsync", ["-e", shell, "--timeout=20", ...args], { timeoutMs: 60_000 });
      return { ...result, ends };
    },
  };
}

/** After each message, and in the middle of it. */
function cutsOf(ends: readonly number[]): number[] {
  const all = ends.flatMap((end, index) => [Math.floor(((ends[index - 1] ?? 0) + end) / 2), end]);
  // The last message is no more than a goodbye.
  const cuts = [...new Set(all)].filter((cut) => cut < ends.at(-1)!);
  const step = Math.max(1, Math.ceil(cuts.length / MOST_CUTS));
  return cuts.filter((_, index) => index % step === 0);
}

function someFiles(folder: string): void {
  mkdirSync(path.join(folder, "sub"));
  for (let number = 0; number < 12; number++) {
    writeFileSync(path.join(folder, number % 2 === 0 ? "." : "sub", `f${number}`), scrambledBytes(`${number}`, 40_000));
  }
}

test("a push makes a snapshot only if all of it came, wherever the line is cut", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  someFiles(folder);
  let saved = 0;
  const answer: Answer = (transport, command) =>
    acceptPush(transport, command, {
      onProblem: () => undefined,
      previous: () => Promise.resolve(undefined),
      previousTree: () => Promise.resolve(undefined),
      async save(source) {
        let bytes = 0;
        for await (const batch of source.entries()) {
          for (const entry of batch) {
            const content = entry.stat.type === "file" ? source.content(entry) : undefined;
            if (content?.kind !== "stream") continue;
            for await (const piece of content.pieces()) bytes += piece.length;
          }
        }
        await source.finish?.();
        assert.equal(bytes, 12 * 40_000);
        saved++;
      },
    });
  const { rsync } = await line(t, "to server", answer);
  const push = ["-a", `${folder}/`, "x:"];
  const whole = await rsync(Infinity, ...push);
  assert.equal(whole.status, 0, whole.stderr);
  assert.equal(saved, 1);
  const cuts = cutsOf(whole.ends);
  assert.ok(cuts.length > 8);
  for (const cut of cuts) {
    const before: number = saved;
    const { status } = await rsync(cut, ...push);
    assert.notEqual(status, 0, `cut after ${cut} of ${whole.ends.at(-1)}`);
    // All files may have come before the end is said: then there is a snapshot, and it is whole.
    assert.ok(saved === before || cut > 12 * 40_000, `a snapshot of a line cut after ${cut}`);
  }
});

test("a fetch over a line that is cut fails, and its server goes on", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const files = Object.fromEntries(
    Array.from({ length: 12 }, (_, number) => [
      `f${number}`,
      madeUpFile(scrambledBytes(`${number}`, 40_000).toString("latin1")),
    ]),
  );
  const { view } = madeUpSnapshot(madeUpFolder(files));
  const shelf = { list: () => Promise.resolve([{ name: "s", timeMs: 0, open: () => Promise.resolve(view) }]) };
  const { rsync } = await line(t, "from server", (transport, command) => serveFetch(transport, command, shelf));
  const fetch = ["-a", "x:s/", `${folder}/copy/`];
  const whole = await rsync(Infinity, ...fetch);
  assert.equal(whole.status, 0, whole.stderr);
  const cuts = cutsOf(whole.ends);
  assert.ok(cuts.length > 8);
  for (const cut of cuts) {
    rmSync(path.join(folder, "copy"), { recursive: true, force: true });
    const { status } = await rsync(cut, ...fetch);
    assert.notEqual(status, 0, `cut after ${cut} of ${whole.ends.at(-1)}`);
  }
  assert.equal((await rsync(Infinity, ...fetch)).status, 0);
});
