import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { HoldfastError, UsageError } from "../errors.ts";
import { atEnd } from "../../test/support/at-end.ts";
import { rawPathFromText } from "../platform/raw-path.ts";
import { type CommandContent, openCommandSource } from "./command-source.ts";
import type { Source, SourceEntry } from "./source.ts";

function open(t: TestContext, content: CommandContent, fileName = "dump.sql"): Source {
  const source = openCommandSource({ fileName: rawPathFromText(fileName), content });
  atEnd(t, () => source.close());
  return source;
}

const shell = (script: string): CommandContent => ({ kind: "command", argv: ["sh", "-c", script] });

async function entriesOf(source: Source): Promise<SourceEntry[]> {
  const entries: SourceEntry[] = [];
  for await (const batch of source.entries()) entries.push(...batch);
  return entries;
}

async function piecesOf(source: Source): Promise<AsyncIterable<Uint8Array>> {
  const file = (await entriesOf(source)).at(-1) ?? assert.fail();
  const content = source.content(file);
  assert.ok(content.kind === "stream");
  return content.pieces();
}

async function read(source: Source): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of await piecesOf(source)) pieces.push(piece);
  return Buffer.concat(pieces);
}

describe("a command source", () => {
  it("has one file, and made-up folders above it", async (t) => {
    const entries = await entriesOf(open(t, shell("true"), "/var//backups/dump.sql"));
    assert.deepEqual(
      entries.map(({ path, name, depth, stat }) => [path, name, depth, stat.type, stat.mode]),
      [
        ["", "", 0, "directory", 0o755],
        ["var", "var", 1, "directory", 0o755],
        ["var/backups", "backups", 2, "directory", 0o755],
        ["var/backups/dump.sql", "dump.sql", 3, "file", 0o644],
      ],
    );
    for (const { stat } of entries) {
      assert.equal(stat.uid, process.getuid?.());
      assert.ok(Math.abs(stat.mtimeSeconds + stat.mtimeNanoseconds / 1e9 - Date.now() / 1000) < 60);
    }
  });

  it("refuses a name that is no plain path", (t) => {
    for (const name of ["", "/", "a/../b", "./a", "a\0b"])
      assert.throws(() => open(t, shell("true"), name), UsageError);
  });

  it("gives what the command writes, of any size and any bytes", async (t) => {
    const script = "head -c 3000000 /dev/zero | tr '\\0' '\\377'; printf '\\000end'";
    const content = await read(open(t, shell(script)));
    assert.equal(content.length, 3_000_004);
    assert.ok(content.subarray(0, 3_000_000).every((byte) => byte === 255));
    assert.equal(content.toString("latin1", 3_000_000), "\0end");
  });

  it("hands arguments over as they are, without a shell", async (t) => {
    const content = await read(open(t, { kind: "command", argv: ["printf", "%s|%s", "$HOME *", "b;c"] }));
    assert.equal(content.toString(), "$HOME *|b;c");
  });

  const failures: readonly [what: string, content: CommandContent, message: RegExp][] = [
    ["ends with a code other than 0", shell("echo half; exit 7"), /the command sh ended with exit code 7/],
    ["is killed", shell("echo half; kill -9 $$"), /the command sh was ended by SIGKILL/],
    [
      "says why on standard error",
      shell("echo half; echo no such table >&2; exit 1"),
      /code 1; it said: no such table$/,
    ],
    ["closes its output and fails later", shell("echo half; exec >&-; sleep 0.2; exit 2"), /exit code 2/],
    ["does not exist", { kind: "command", argv: ["/no/such/command"] }, /could not be started: .*ENOENT/],
  ];
  for (const [what, content, message] of failures) {
    it(`fails after the last piece where the command ${what}`, async (t) => {
      await assert.rejects(read(open(t, content)), (error) => {
        assert.ok(error instanceof HoldfastError);
        assert.match(error.message, message);
        assert.match(error.hint ?? "", /Nothing was saved/);
        return true;
      });
    });
  }

  it("waits for a reader that is slow", async (t) => {
    const source = open(t, shell("head -c 20000000 /dev/zero"));
    let size = 0;
    const before = process.memoryUsage().arrayBuffers;
    for await (const piece of await piecesOf(source)) {
      if (size === 0) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        assert.ok(process.memoryUsage().arrayBuffers - before < 5_000_000);
      }
      size += piece.length;
    }
    assert.equal(size, 20_000_000);
  });

  it("ends the command when nobody reads on", { timeout: 20_000 }, async (t) => {
    const source = open(t, shell("echo $$; exec sleep 1000"));
    let pid = 0;
    for await (const piece of await piecesOf(source)) {
      pid = Number(Buffer.from(piece).toString());
      break;
    }
    assert.ok(pid > 1);
    assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  });

  it("ends the command when it is closed, and the reader then sees a failure", { timeout: 20_000 }, async (t) => {
    const source = open(t, shell("echo started; exec sleep 1000"));
    const reading = (async () => {
      for await (const piece of await piecesOf(source)) if (piece.length > 0) void source.close();
    })();
    await assert.rejects(reading, /was ended by SIGTERM/);
  });

  it("gives the bytes of an input as they come, once", async (t) => {
    async function* input(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("one");
      yield Buffer.from("two");
    }
    const source = open(t, { kind: "input", input: input() });
    assert.equal((await read(source)).toString(), "onetwo");
    await assert.rejects(read(source), HoldfastError);
  });
});
