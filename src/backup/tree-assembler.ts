import type { BlobId } from "../format/tree.ts";
import { contentIds, encodeFan, entryName, LEAF_HEAD_BYTES, leafInPlace } from "../format/tree.ts";
import type { RawPath } from "../platform/raw-path.ts";

/**
 * Builds trees out of entries that come in walk order, and holds no more than the directories that are open.
 *
 * A large directory is stored in parts as it fills. A part ends where a hash of the last name says so, not after a set
 * number: a name that comes or goes changes one part and not all that follow.
 */
export interface TreeAssembler {
  /** A directory, encoded with any tree id: it is set when the directory is complete. */
  openDirectory(depth: number, encoded: Buffer): void;
  /** Any other entry; also a directory that is complete as it is encoded. */
  add(depth: number, encoded: Buffer): void;
  /** Closes all directories, and gives the encoded entry of the top one. */
  finish(): Buffer;
}

const SMALLEST_PART = 512;
const USUAL_PART_MASK = 2047;
const LARGEST_PART = 8192;
const LARGEST_PART_BYTES = 1024 * 1024;

const FIRST_BYTES = 16 * 1024;
/** Memory of directories that were closed is used for others, but no more than a few large pieces are kept for that. */
const LARGEST_REUSED_BYTES = 256 * 1024;
const REUSED = 16;

interface OpenDirectory {
  readonly encoded: Buffer;
  /** Entries that are in no part yet, one after another from `LEAF_HEAD_BYTES` on: objects for each would cost more. */
  bytes: Buffer;
  end: number;
  count: number;
  readonly parts: { id: BlobId; count: number; firstName: RawPath }[];
}

/** `onClosed` is told of each directory that is complete, with the ids of its tree and of that tree's parts. */
export function createTreeAssembler(
  storeTree: (tree: Uint8Array) => BlobId,
  onClosed: (depth: number, treeIds: readonly BlobId[]) => void = () => undefined,
): TreeAssembler {
  const open: OpenDirectory[] = [];
  const unused: Buffer[] = [];
  let top: Buffer | undefined;

  function append(directory: OpenDirectory, encoded: Buffer): void {
    if (directory.end + encoded.length > directory.bytes.length) grow(directory, encoded.length);
    directory.bytes.set(encoded, directory.end);
    directory.end += encoded.length;
    directory.count++;
    const entryBytes = directory.end - LEAF_HEAD_BYTES;
    if (directory.count < SMALLEST_PART && entryBytes < LARGEST_PART_BYTES) return;
    const isEnd = (hashOfName(entryName(encoded)) & USUAL_PART_MASK) === 0;
    if (isEnd || directory.count >= LARGEST_PART || entryBytes >= LARGEST_PART_BYTES) closePart(directory);
  }

  function grow(directory: OpenDirectory, extraBytes: number): void {
    const { bytes, end } = directory;
    directory.bytes = Buffer.allocUnsafeSlow(Math.max(bytes.length * 2, end + extraBytes));
    directory.bytes.set(bytes.subarray(0, end));
  }

  function storeLeaf(directory: OpenDirectory): BlobId {
    const { bytes, end, count } = directory;
    return storeTree(leafInPlace(bytes.subarray(0, end), count));
  }

  function closePart(directory: OpenDirectory): void {
    const firstName = entryName(directory.bytes, LEAF_HEAD_BYTES);
    directory.parts.push({ id: storeLeaf(directory), count: directory.count, firstName });
    directory.end = LEAF_HEAD_BYTES;
    directory.count = 0;
  }

  function closeDirectory(): void {
    const directory = open.pop();
    if (directory === undefined) return;
    const { encoded, parts } = directory;
    let id: BlobId;
    if (parts.length === 0) {
      id = storeLeaf(directory);
    } else {
      if (directory.count > 0) closePart(directory);
      id = parts.length === 1 ? parts[0].id : storeTree(encodeFan(parts));
    }
    if (directory.bytes.length <= LARGEST_REUSED_BYTES && unused.length < REUSED) unused.push(directory.bytes);
    contentIds(encoded, (idOffset) => encoded.set(id, idOffset));
    onClosed(open.length, [id, ...(parts.length > 1 ? parts.map((part) => part.id) : [])]);
    put(open.length, encoded);
  }

  function put(depth: number, encoded: Buffer): void {
    if (depth === 0) top = encoded;
    else append(open[depth - 1], encoded);
  }

  function closeDownTo(depth: number): void {
    while (open.length > depth) closeDirectory();
  }

  return {
    openDirectory(depth, encoded) {
      closeDownTo(depth);
      if (open.length !== depth) throw new Error("a directory came before the one it lies in");
      const bytes = unused.pop() ?? Buffer.allocUnsafeSlow(FIRST_BYTES);
      open.push({ encoded: Buffer.from(encoded), bytes, end: LEAF_HEAD_BYTES, count: 0, parts: [] });
    },
    add(depth, encoded) {
      closeDownTo(depth);
      if (open.length !== depth) throw new Error("an entry came before the directory it lies in");
      put(depth, encoded);
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
