import { DamagedError, HoldfastError, messageOf, ObjectMissingError } from "../errors.ts";
import { displayPath, joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { BlobReader } from "../repository/blob-reader.ts";
import {
  type ContentBlob,
  type DecodedTree,
  entryName,
  iterateTree,
  type BlobId,
  type DirectoryEntry,
  type FanPart,
  type FileEntry,
  type TreeEntry,
} from "../format/tree.ts";
import { contentBatches, contentError, createBlobPlacer, dataRanges, readContentList } from "./file-layout.ts";
import type { FilePiece, SnapshotView } from "./snapshot-view.ts";

/** Trees in which something was looked up are held decoded, up to so many entries in all (some 400 bytes each). */
const HELD_ENTRIES = 20_000;

type HeldTree =
  | { readonly kind: "leaf"; readonly entries: readonly TreeEntry[] }
  | { readonly kind: "fan"; readonly parts: readonly FanPart[] };

type Leaf = Extract<DecodedTree, { kind: "leaf" }> & {
  /** As the fan says; undefined where the leaf is the whole directory. */
  readonly firstName: RawPath | undefined;
};

/**
 * The view of a snapshot in a repository, from the entry of its top directory (or of any other: then that is the top).
 * Trees are read when asked for; a large directory is read part by part.
 */
export function openSnapshotView(reader: BlobReader, top: DirectoryEntry): SnapshotView {
  const held = new Map<string, HeldTree>();
  let heldEntries = 0;
  let heldList: { readonly listBlob: ContentBlob; readonly blobs: readonly ContentBlob[] } | undefined;
  // Only so that errors can name the path.
  const paths = new WeakMap<DirectoryEntry, RawPath>([[top, "" as RawPath]]);

  async function readTree(id: BlobId, path: RawPath): Promise<DecodedTree> {
    return namingPath(path, async () => iterateTree(await reader.readTree(id)));
  }

  /** The leaves of a directory: one, or the parts of a large one. */
  async function* leaves(directory: DirectoryEntry, path: RawPath): AsyncGenerator<Leaf> {
    const tree = await readTree(directory.tree, path);
    if (tree.kind === "leaf") {
      yield { ...tree, firstName: undefined };
      return;
    }
    for (const { id, count, firstName } of tree.parts) {
      const part = await readTree(id, path);
      if (part.kind !== "leaf" || part.count !== count || count === 0) throw partsError(path);
      yield { ...part, firstName };
    }
  }

  async function* list(directory: DirectoryEntry): AsyncGenerator<TreeEntry> {
    const path = paths.get(directory) ?? directory.name;
    let last = "" as RawPath;
    for await (const leaf of leaves(directory, path)) {
      const entries = leaf.entries[Symbol.iterator]();
      for (let isFirst = true; ; isFirst = false) {
        const step = nextNamingPath(entries, path);
        if (step.done === true) break;
        const entry = step.value;
        if (isFirst) checkFirstName(leaf, entry.name, last, path);
        last = entry.name;
        if (entry.type === "directory") paths.set(entry, joinRaw(path, entry.name));
        yield entry;
      }
    }
  }

  async function* listEncoded(directory: DirectoryEntry): AsyncGenerator<readonly Buffer[]> {
    const path = paths.get(directory) ?? directory.name;
    let last = "" as RawPath;
    for await (const leaf of leaves(directory, path)) {
      const entries = await namingPath(path, () => Array.from(leaf.encodedEntries));
      if (entries.length === 0) continue;
      checkFirstName(leaf, entryName(entries[0]), last, path);
      last = entryName(entries[entries.length - 1]);
      yield entries;
    }
  }

  /** A tree, decoded whole and held, as neighbours of what is looked up in it will be looked up next. */
  async function holdTree(id: BlobId, path: RawPath): Promise<HeldTree> {
    const key = Buffer.from(id.buffer, id.byteOffset, id.byteLength).latin1Slice();
    const known = held.get(key);
    if (known !== undefined) {
      held.delete(key);
      held.set(key, known);
      return known;
    }
    const decoded = await readTree(id, path);
    const tree: HeldTree =
      decoded.kind === "fan"
        ? decoded
        : { kind: "leaf", entries: await namingPath(path, () => Array.from(decoded.entries)) };
    held.set(key, tree);
    heldEntries += weightOf(tree);
    for (const [oldKey, old] of held) {
      if (heldEntries <= HELD_ENTRIES || oldKey === key) break;
      held.delete(oldKey);
      heldEntries -= weightOf(old);
    }
    return tree;
  }

  async function lookup(path: RawPath): Promise<TreeEntry | undefined> {
    let entry: TreeEntry = top;
    let folder = "" as RawPath;
    for (const name of path.split("/")) {
      if (name === "") continue;
      if (entry.type !== "directory") return undefined;
      paths.set(entry, folder);
      const found = await lookupIn(entry, name as RawPath, folder);
      if (found === undefined) return undefined;
      entry = found;
      folder = joinRaw(folder, entry.name);
    }
    if (entry.type === "directory") paths.set(entry, folder);
    return entry;
  }

  async function lookupIn(directory: DirectoryEntry, name: RawPath, path: RawPath): Promise<TreeEntry | undefined> {
    const tree = await holdTree(directory.tree, path);
    let entries: readonly TreeEntry[];
    if (tree.kind === "leaf") entries = tree.entries;
    else {
      const index = countUpTo(tree.parts, (part) => part.firstName <= name) - 1;
      if (index < 0) return undefined;
      const part = await holdTree(tree.parts[index].id, path);
      if (part.kind !== "leaf" || part.entries[0]?.name !== tree.parts[index].firstName) throw partsError(path);
      entries = part.entries;
    }
    const entry = entries[countUpTo(entries, (candidate) => candidate.name <= name) - 1];
    return entry?.name === name ? entry : undefined;
  }

  async function readBlob(file: FileEntry, { id, lengthBytes }: ContentBlob): Promise<Uint8Array> {
    const bytes = await reader.readData(id);
    if (bytes.length !== lengthBytes) {
      throw contentError(file, `a blob has ${bytes.length} bytes instead of ${lengthBytes}`);
    }
    return bytes;
  }

  async function read(file: FileEntry, offset: number, length: number): Promise<Uint8Array> {
    const end = Math.min(offset + length, file.sizeBytes);
    if (end <= offset) return new Uint8Array(0);
    const wanted = new Uint8Array(end - offset);
    for (const range of dataRanges(file)) {
      const from = Math.max(offset, range.fileOffset);
      const until = Math.min(end, range.fileOffset + range.lengthBytes);
      if (range.fileOffset >= end) break;
      if (until <= from) continue;
      const dataOffset = range.dataOffset + from - range.fileOffset;
      await readData(file, dataOffset, wanted.subarray(from - offset, until - offset));
    }
    return wanted;
  }

  /** Fills `target` from the data of a file, which is the file without its holes. */
  async function readData(file: FileEntry, offset: number, target: Uint8Array): Promise<void> {
    for (let filled = 0; filled < target.length;) {
      let { blob, start } = pieceAt(file.content, offset + filled);
      if (file.listed === true) {
        const inList = pieceAt(await readList(file, blob), offset + filled - start);
        blob = inList.blob;
        start += inList.start;
      }
      const blobOffset = offset + filled - start;
      const bytes = await readBlob(file, blob);
      const part = bytes.subarray(blobOffset, blobOffset + target.length - filled);
      target.set(part, filled);
      filled += part.length;
    }
  }

  async function readList(file: FileEntry, listBlob: ContentBlob): Promise<readonly ContentBlob[]> {
    if (heldList?.listBlob === listBlob) return heldList.blobs;
    const blobs = await readContentList(reader, file, listBlob);
    heldList = { listBlob, blobs };
    return blobs;
  }

  const content = (file: FileEntry): AsyncGenerator<readonly ContentBlob[]> => contentBatches(reader, file);

  async function* pieces(file: FileEntry): AsyncGenerator<FilePiece> {
    const placer = createBlobPlacer(file);
    let at = 0;
    for await (const blobs of content(file)) {
      for (const blob of blobs) {
        const bytes = await readBlob(file, blob);
        for (const { fileOffset, blobOffset, lengthBytes } of placer.place(blob.lengthBytes)) {
          if (fileOffset > at) yield { kind: "hole", offset: at, lengthBytes: fileOffset - at };
          yield { kind: "data", offset: fileOffset, bytes: bytes.subarray(blobOffset, blobOffset + lengthBytes) };
          at = fileOffset + lengthBytes;
        }
      }
    }
    if (file.sizeBytes > at) yield { kind: "hole", offset: at, lengthBytes: file.sizeBytes - at };
  }

  return { top, lookup, list, listEncoded, content, read, pieces };
}

/** Content to find blobs in by their offset: where each begins. Kept with it, because it is asked for again and again. */
const startsOf = new WeakMap<readonly ContentBlob[], Float64Array>();

/** The piece that holds the byte at `offset` of what all pieces hold together. */
function pieceAt(content: readonly ContentBlob[], offset: number): { blob: ContentBlob; start: number } {
  let starts = startsOf.get(content);
  if (starts === undefined) {
    starts = new Float64Array(content.length);
    for (let index = 1; index < content.length; index++) {
      starts[index] = starts[index - 1] + content[index - 1].lengthBytes;
    }
    startsOf.set(content, starts);
  }
  let low = 0;
  let high = content.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (starts[middle] <= offset) low = middle;
    else high = middle - 1;
  }
  return { blob: content[low], start: starts[low] };
}

/** Steps on, putting the path before the message of what is wrong. */
function nextNamingPath<T>(entries: Iterator<T>, path: RawPath): IteratorResult<T> {
  try {
    return entries.next();
  } catch (error) {
    throw namedError(path, error);
  }
}

/** The parts of a large directory have to follow each other as its fan says. */
function checkFirstName({ firstName }: Leaf, name: RawPath, last: RawPath, path: RawPath): void {
  if (firstName !== undefined && (name !== firstName || name <= last)) throw partsError(path);
}

function partsError(path: RawPath): DamagedError {
  return new DamagedError(`/${displayPath(path)}: the tree of this folder is damaged: its parts do not fit`);
}

function weightOf(tree: HeldTree): number {
  return tree.kind === "leaf" ? tree.entries.length + 1 : tree.parts.length;
}

/** How many of `items` satisfy a condition that the first ones do and the others do not. */
function countUpTo<T>(items: readonly T[], satisfies: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (satisfies(items[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Puts the path before the message where storage does not hold what it should. */
async function namingPath<T>(path: RawPath, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw namedError(path, error);
  }
}

function namedError(path: RawPath, error: unknown): unknown {
  const details = { cause: error, hint: error instanceof HoldfastError ? error.hint : undefined };
  const message = `/${displayPath(path)}: ${messageOf(error)}`;
  if (error instanceof DamagedError) return new DamagedError(message, details);
  if (error instanceof ObjectMissingError) return new ObjectMissingError(message, details);
  return error;
}
