import type { BlobId } from "../format/tree.ts";
import { contentIds, encodeFan, encodeLeaf, entryName } from "../format/tree.ts";
import type { RawPath } from "../platform/raw-path.ts";

/**
 * Builds trees out of entries that come in walk order, and holds no more than the directories that are open.
 *
 * A large directory is stored in parts as it fills. A part ends where a hash of the last name says so, not after a set
 * number: a name that comes or goes changes one part and not all that follow.
 */
export interface TreeAssembler {
  /** A directory, encoded with any tree id: it is set when the directory is complete. */
  openDirectory(depth: number, encoded: Uint8Array): void;
  /** Any other entry. */
  add(depth: number, encoded: Uint8Array): void;
  /** Closes all directories, and gives the encoded entry of the top one. */
  finish(): Buffer;
}

const SMALLEST_PART = 512;
const USUAL_PART_MASK = 2047;
const LARGEST_PART = 8192;
const LARGEST_PART_BYTES = 1024 * 1024;

interface OpenDirectory {
  readonly encoded: Buffer;
  entries: Uint8Array[];
  entryBytes: number;
  readonly parts: { id: BlobId; count: number; firstName: RawPath }[];
}

export function createTreeAssembler(storeTree: (tree: Uint8Array) => BlobId): TreeAssembler {
  const open: OpenDirectory[] = [];
  let top: Buffer | undefined;

  function append(directory: OpenDirectory, encoded: Uint8Array): void {
    directory.entries.push(encoded);
    directory.entryBytes += encoded.length;
    const count = directory.entries.length;
    if (count < SMALLEST_PART && directory.entryBytes < LARGEST_PART_BYTES) return;
    const isEnd = (hashOfName(entryName(encoded)) & USUAL_PART_MASK) === 0;
    if (isEnd || count >= LARGEST_PART || directory.entryBytes >= LARGEST_PART_BYTES) closePart(directory);
  }

  function closePart(directory: OpenDirectory): void {
    const { entries } = directory;
    const id = storeTree(encodeLeaf(entries));
    directory.parts.push({ id, count: entries.length, firstName: entryName(entries[0]) });
    directory.entries = [];
    directory.entryBytes = 0;
  }

  function closeDirectory(): void {
    const directory = open.pop();
    if (directory === undefined) return;
    const { encoded, parts } = directory;
    let id: BlobId;
    if (parts.length === 0) {
      id = storeTree(encodeLeaf(directory.entries));
    } else {
      if (directory.entries.length > 0) closePart(directory);
      id = parts.length === 1 ? parts[0].id : storeTree(encodeFan(parts));
    }
    contentIds(encoded, (idOffset) => encoded.set(id, idOffset));
    const parent = open.at(-1);
    if (parent === undefined) top = encoded;
    else append(parent, encoded);
  }

  function closeDownTo(depth: number): void {
    while (open.length > depth) closeDirectory();
  }

  return {
    openDirectory(depth, encoded) {
      closeDownTo(depth);
      if (open.length !== depth) throw new Error("a directory came before the one it lies in");
      open.push({ encoded: Buffer.from(encoded), entries: [], entryBytes: 0, parts: [] });
    },
    add(depth, encoded) {
      closeDownTo(depth);
      const parent = open[depth - 1];
      if (parent === undefined) throw new Error("an entry came before the directory it lies in");
      append(parent, encoded);
    },
    finish() {
      closeDownTo(0);
      if (top === undefined) throw new Error("there was no top directory");
      return top;
    },
  };
}

/** FNV-1a, 32 bits: stable across versions, and good enough to spread the ends of parts. */
function hashOfName(name: RawPath): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return hash ^ (hash >>> 15);
}
