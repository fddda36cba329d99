import { HoldfastError } from "../errors.ts";
import { contentIds, decodeContentList, type DirectoryEntry, entryName, iterateTree } from "../format/tree.ts";
import { displayPath, joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { FrameReader } from "./frame-reader.ts";

/** Walks trees, each only once however many snapshots share it, and finds what they need and what of that is not there. */
export interface TreeChecker {
  check(top: DirectoryEntry): Promise<TreeCheck>;
  /** Distinct trees seen so far. */
  treeCount(): number;
}

export interface TreeCheck {
  /** What is wrong, with paths. */
  readonly problems: readonly string[];
  /** Frames (by number in the reader's index) that hold the trees and all content. */
  readonly neededFrames: ReadonlySet<number>;
}

/** What is known of a tree and all below it. */
interface TreeKnowledge {
  readonly frames: Uint32Array;
  /** Paths are relative to the tree. */
  readonly problems: readonly { readonly path: RawPath; readonly message: string }[];
}

const MAXIMUM_PROBLEMS = 1000;

export function createTreeChecker(reader: FrameReader): TreeChecker {
  const known = new Map<string, TreeKnowledge>();

  async function checkTree(id: Uint8Array): Promise<TreeKnowledge> {
    const key = Buffer.from(id.buffer, id.byteOffset, 32).latin1Slice();
    const before = known.get(key);
    if (before !== undefined) return before;
    const frames = new Set<number>();
    const problems: { path: RawPath; message: string }[] = [];
    try {
      frames.add(reader.locate(id).frame);
      const tree = iterateTree(await reader.readTree(id));
      if (tree.kind === "fan") {
        for (const part of tree.parts) take(await checkTree(part.id), "" as RawPath);
      } else {
        for (const encoded of tree.encodedEntries) await checkEntry(Buffer.from(encoded));
      }
    } catch (error) {
      fail("" as RawPath, error);
    }
    const knowledge = { frames: Uint32Array.from(frames), problems: problems.slice(0, MAXIMUM_PROBLEMS) };
    known.set(key, knowledge);
    return knowledge;

    function take(below: TreeKnowledge, name: RawPath): void {
      for (const frame of below.frames) frames.add(frame);
      for (const { path, message } of below.problems) {
        problems.push({ path: path === "" ? name : joinRaw(name, path), message });
      }
    }

    function fail(path: RawPath, error: unknown): void {
      if (!(error instanceof HoldfastError)) throw error;
      problems.push({ path, message: error.message });
    }

    async function checkEntry(encoded: Buffer): Promise<void> {
      const name = entryName(encoded);
      const needed: { id: Buffer; kind: "data" | "list" | "tree" }[] = [];
      contentIds(encoded, (idOffset, _length, kind) => {
        needed.push({ id: encoded.subarray(idOffset, idOffset + 32), kind });
      });
      for (const { id: blob, kind } of needed) {
        try {
          if (kind === "tree") take(await checkTree(blob), name);
          else frames.add(reader.locate(blob).frame);
          if (kind === "list") {
            for (const listed of decodeContentList(await reader.readTree(blob)))
              frames.add(reader.locate(listed.id).frame);
          }
        } catch (error) {
          fail(name, error);
        }
      }
    }
  }

  return {
    async check(top) {
      const { frames, problems } = await checkTree(top.tree);
      return {
        neededFrames: new Set(frames),
        problems: problems.map(({ path, message }) => `/${displayPath(path)}: ${message}`),
      };
    },
    treeCount: () => known.size,
  };
}
