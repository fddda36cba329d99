/** When a folder that its source says to be as it was is taken over as a whole, and when it is not. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { newSavingHost } from "../../test/support/library-repository.ts";
import { FileUnreadableError, type Source } from "../source/source.ts";
import { madeUpEntry } from "./testing/made-up-entry.ts";

interface MadeUpFile {
  readonly path: string;
  /** As listed; its content may be of another length. */
  readonly sizeBytes: number;
  /** What comes; undefined for what cannot be read. */
  readonly content: string | undefined;
}

describe("a folder that is as it was", () => {
  it("is taken over, and nothing below it is asked for", async (t) => {
    const save = await place(t);
    assert.deepEqual(await save([file("in/a", "one"), file("in/b", "two")]), ["in/a", "in/b"]);
    assert.deepEqual(await save([file("in/a", "one"), file("in/b", "two")]), []);
    assert.deepEqual(await save([file("in/a", "one"), file("in/b", "two"), file("c", "three")]), ["c"]);
  });

  it("is looked at again where a file was not as long as it was listed", async (t) => {
    const save = await place(t);
    const grown = { path: "in/a", sizeBytes: 3, content: "grown" };
    assert.deepEqual(await save([grown, file("in/b", "two")]), ["in/a", "in/b"]);
    assert.deepEqual(await save([file("in/a", "one"), file("in/b", "two")]), ["in/a"]);
    assert.deepEqual(await save([file("in/a", "one"), file("in/b", "two")]), []);
  });

  it("is looked at again where a file could not be read", async (t) => {
    const save = await place(t);
    const unreadable = { path: "in/a", sizeBytes: 3, content: undefined };
    assert.deepEqual(await save([unreadable, file("in/b", "two")]), ["in/a", "in/b"]);
    assert.deepEqual(await save([unreadable, file("in/b", "two")]), ["in/a"]);
    assert.deepEqual(await save([file("in/a", "one"), file("in/b", "two")]), ["in/a"]);
  });
});

const file = (path: string, content: string): MadeUpFile => ({ path, sizeBytes: content.length, content });

/** Saves such files again and again, and gives the paths of those whose content was asked for. */
async function place(t: TestContext): Promise<(files: readonly MadeUpFile[]) => Promise<readonly string[]>> {
  const { save } = await newSavingHost(t);
  return async (files) => {
    const asked: string[] = [];
    await save(sourceOf(files, asked), {
      onProblem: ({ error }) => assert.ok(error instanceof Error && error.message === "it is no good"),
    });
    return asked;
  };
}

/** The files, in folders whose digest says which there are and how long they are listed to be. */
function sourceOf(files: readonly MadeUpFile[], asked: string[]): Source {
  const folders = new Set(["", ...files.map(({ path }) => path.split("/").slice(0, -1).join("/"))]);
  const digestOf = (folder: string): string =>
    JSON.stringify(files.filter(({ path }) => path.startsWith(folder)).map(({ path, sizeBytes }) => [path, sizeBytes]));
  const all = [
    ...[...folders].map((path) => ({ ...madeUpEntry(path, "directory", 0), digest: digestOf(path) })),
    ...files.map(({ path, sizeBytes }) => madeUpEntry(path, "file", sizeBytes)),
  ].toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return {
    async *entries() {
      yield all;
    },
    details: () => ({ xattrs: [], target: undefined }),
    content({ path }) {
      asked.push(path);
      const content = files.find((one) => one.path === path)?.content;
      return {
        kind: "stream",
        async *pieces() {
          if (content === undefined) throw new FileUnreadableError("it is no good");
          yield Buffer.from(content);
        },
      };
    },
    close: () => Promise.resolve(),
  };
}
