/**
 * Backups of next to nothing, on one thread: they do all that a backup does with its repository, in the same order each
 * time, in a few milliseconds. For proofs that run them by the thousand.
 */
import { openLocalDestination } from "../../src/backup/local-destination.ts";
import type { KeyRing } from "../../src/crypto/key-ring.ts";
import { createKeyedHash } from "../../src/crypto/keyed-hash.ts";
import { generateSigningKey } from "../../src/crypto/signing.ts";
import { encodeEntry, encodeLeaf, iterateTree } from "../../src/format/tree.ts";
import type { BlobId, DirectoryEntry, EntryAttributes } from "../../src/format/tree.ts";
import type { RawPath } from "../../src/platform/raw-path.ts";
import { openFrameReader } from "../../src/repository/frame-reader.ts";
import { createFrameWriter } from "../../src/repository/frame-writer.ts";
import { openRepository } from "../../src/repository/repository.ts";
import type { Repository } from "../../src/repository/repository.ts";
import { claimForStoring } from "../../src/repository/session-blobs.ts";
import { openSnapshot, readSnapshot } from "../../src/repository/snapshots.ts";
import type { Storage } from "../../src/storage/storage.ts";
import type { SeededRandom } from "../../src/storage/testing/random.ts";
import { scrambledBytes } from "./awkward-tree.ts";

/** What is saved: numbers of pieces of content, of which many snapshots share some. */
export type TinyContent = readonly number[];

const signingKey = generateSigningKey();
const PIECES = 12;
/** More than a pack's own bytes, so that pruning finds it worth its while to write packs anew. */
const pieces = Array.from({ length: PIECES }, (_, number) => scrambledBytes(`piece ${number}`, 6000));

export function someContent(random: SeededRandom): TinyContent {
  return pieces.map((_, number) => number).filter(() => random.below(3) === 0);
}

/** Saves a snapshot in which each piece is a blob in a frame of its own, or all together in one, and gives its id. */
export async function saveTiny(
  repository: Repository,
  content: TinyContent,
  frames: "one each" | "one for all" = "one each",
): Promise<string> {
  const destination = await openLocalDestination(repository, { signingKey, startedMs: Date.now() });
  const { keys, blobs } = destination;
  const data = createFrameWriter("data", keys, "off", (frame) => destination.store(frame));
  const trees = createFrameWriter("tree", keys, "off", (frame) => destination.store(frame));
  const store = async (writer: typeof data, key: Uint8Array, bytes: Uint8Array): Promise<BlobId> => {
    const id = createKeyedHash(key).hash(bytes);
    if (claimForStoring(blobs, id)) {
      writer.append(id, bytes);
      if (writer === trees || frames === "one each") writer.flush();
      await destination.ready();
    }
    if (!destination.need(id)) throw new Error("a blob that was just stored is not there");
    return id;
  };
  const entries: Uint8Array[] = [];
  for (const number of content) {
    const bytes = pieces[number];
    const id = await store(data, keys.dataKey, bytes);
    const listed = [{ id, lengthBytes: bytes.length }];
    const file = { ...ATTRIBUTES, name: nameOf(number), sizeBytes: bytes.length, content: listed, holes: [] };
    entries.push(encodeEntry({ ...file, type: "file" }));
  }
  data.flush();
  const tree = await store(trees, keys.treeKey, encodeLeaf(entries));
  const root: DirectoryEntry = { ...ATTRIBUTES, type: "directory", name: "" as RawPath, tree };
  const { id } = await destination.commit({
    host: "here",
    group: Buffer.alloc(16),
    parent: undefined,
    counts: { files: content.length, directories: 1, others: 0 },
    sizeBytes: 0,
    addedBytes: 0,
    storedBytes: 0,
    complete: true,
    sealed: { paths: [], tags: [], root, user: "", program: "", excludes: [], statistics: {} },
  });
  return id;
}

const ATTRIBUTES: Omit<EntryAttributes, "name" | "type"> = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  user: "",
  group: "",
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
};

function nameOf(number: number): RawPath {
  return String(number).padStart(2, "0") as RawPath;
}

/** Reads a snapshot whole. Throws where it is not what was saved. */
export async function verifyTiny(storage: Storage, ring: KeyRing, id: string, content: TinyContent): Promise<void> {
  const repository = await openRepository(storage, { ring });
  const snapshot = openSnapshot(repository, await readSnapshot(repository, id));
  const reader = await openFrameReader(repository);
  const tree = iterateTree(await reader.readTree(snapshot.sealed.root.tree));
  if (tree.kind !== "leaf") throw new Error("the tree is none that was saved");
  const seen: string[] = [];
  for (const entry of tree.entries) {
    if (entry.type !== "file") throw new Error(`${entry.name} is no file`);
    const bytes = await reader.readData(entry.content[0].id);
    if (!Buffer.from(bytes).equals(pieces[Number(entry.name)])) throw new Error(`${entry.name} has another content`);
    seen.push(entry.name);
  }
  const expected = content.map(nameOf);
  if (seen.join() !== expected.join())
    throw new Error(`snapshot ${id} holds ${seen.join()} instead of ${expected.join()}`);
}
