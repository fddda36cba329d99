/** Content that comes through the main thread, in every shape in which a source may hand it over. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { newSavingHost } from "../../test/support/library-repository.ts";
import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import { openSnapshots } from "../repository/snapshots.ts";
import type { Source, StreamedFile } from "../source/source.ts";
import { madeUpEntry } from "./testing/made-up-entry.ts";

type Whole = () => Uint8Array | undefined;

it("is saved as it came, whoever its memory belongs to", async (t) => {
  const expected = new Map<string, Buffer>();
  const contents = new Map<string, StreamedFile>();
  const add = (bytes: Buffer, whole: Whole | undefined, pieces: readonly Buffer[]): void => {
    const path = `file${String(contents.size).padStart(4, "0")}`;
    expected.set(path, Buffer.from(bytes));
    const stream = async function* (): AsyncGenerator<Buffer> {
      yield* pieces;
    };
    contents.set(path, { kind: "stream", pieces: stream, ...(whole && { whole }) });
  };
  // Memory that is used for the next content as soon as that is asked for.
  const lent = Buffer.alloc(300_000);
  for (let number = 0; number < 600; number++) {
    const bytes = Buffer.alloc(
      [0, 1, 7, 3000, 70_000, 200_000, 262_144][number % 7] + (number % 5),
      `content ${number}`,
    );
    const small = bytes.subarray(0, 262_144);
    const inHalves = [small.subarray(0, small.length >> 1), small.subarray(small.length >> 1)].map((half) =>
      Buffer.from(half),
    );
    add(small, () => ownMemory(small), []);
    add(small, () => lent.fill(small, 0, small.length).subarray(0, small.length), []);
    add(small, () => undefined, [ownMemory(small)]);
    add(small, undefined, inHalves);
  }
  const large = Buffer.alloc(3_000_000, "something that is longer than what is saved together");
  add(large, undefined, [ownMemory(large.subarray(0, 1_000_000)), large.subarray(1_000_000)]);

  const host = await newSavingHost(t);
  await host.save(sourceOf(contents, expected), { workers: 2 });

  const [{ sealed }] = await openSnapshots(host.repository);
  const view = openSnapshotView(await openFrameReader(host.repository), sealed.root);
  for (const [path, bytes] of expected) {
    const entry = await view.lookup(path as RawPath);
    assert.ok(entry?.type === "file", path);
    const pieces: Uint8Array[] = [];
    for await (const piece of view.pieces(entry)) if (piece.kind === "data") pieces.push(Buffer.from(piece.bytes));
    assert.ok(Buffer.concat(pieces).equals(bytes), `${path} of ${bytes.length} bytes`);
  }
});

function ownMemory(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return own;
}

function sourceOf(contents: ReadonlyMap<string, StreamedFile>, expected: ReadonlyMap<string, Buffer>): Source {
  return {
    async *entries() {
      yield [madeUpEntry("", "directory", 0)];
      yield [...expected].map(([path, { length }]) => madeUpEntry(path, "file", length));
    },
    details: () => ({ xattrs: [], target: undefined }),
    content: ({ path }) => contents.get(path) as StreamedFile,
    close: () => Promise.resolve(),
  };
}
