/** Snapshots made up in memory, for tests of what reads them. */
import { createHash } from "node:crypto";
import { ObjectMissingError } from "../../errors.ts";
import { encodeContentList, encodeEntry, encodeFan, encodeLeaf } from "../../format/tree.ts";
import type {
  BlobId,
  ContentBlob,
  DirectoryEntry,
  EntryAttributes,
  FanPart,
  FileEntry,
  Hole,
  TreeEntry,
} from "../../format/tree.ts";
import { rawPathFromText, type RawPath } from "../../platform/raw-path.ts";
import type { BlobReader } from "../../repository/blob-reader.ts";
import { openSnapshotView } from "../open-snapshot-view.ts";
import type { SnapshotView } from "../snapshot-view.ts";

type Attributes = Partial<Omit<EntryAttributes, "name" | "type">>;

/** An entry that has no name yet: its place gives it one. */
export type MadeUpEntry = (store: BlobStore, name: RawPath) => TreeEntry;

export interface BlobStore extends BlobReader {
  put(bytes: Uint8Array): BlobId;
  /** From now on the blob is missing. */
  lose(id: BlobId): void;
  /** Ids of all trees read so far, in hex. */
  readonly treesRead: string[];
}

function keyOf(id: BlobId): string {
  return Buffer.from(id).toString("hex");
}

export function createBlobStore(): BlobStore {
  const blobs = new Map<string, Uint8Array>();
  const treesRead: string[] = [];
  const get = (id: BlobId): Promise<Uint8Array> => {
    const bytes = blobs.get(keyOf(id));
    return bytes === undefined
      ? Promise.reject(new ObjectMissingError(`blob ${keyOf(id).slice(0, 8)} is missing`))
      : Promise.resolve(bytes);
  };
  return {
    treesRead,
    put(bytes) {
      const id = createHash("sha256").update(bytes).digest();
      blobs.set(keyOf(id), bytes);
      return id;
    },
    lose: (id) => void blobs.delete(keyOf(id)),
    readTree(id) {
      treesRead.push(keyOf(id));
      return get(id);
    },
    readData: get,
  };
}

const COMMON = {
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  user: "ann",
  group: "staff",
  mtimeSeconds: 1_700_000_000,
  mtimeNanoseconds: 0,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
};

/** A file of these blobs, with holes where they are said to be. `blobsInList`: in content lists of so many. */
export function madeUpFile(
  content: string | readonly (string | Uint8Array)[],
  attributes: Attributes & { readonly holes?: readonly Hole[]; readonly blobsInList?: number } = {},
): MadeUpEntry {
  const { holes = [], blobsInList, ...others } = attributes;
  return (store, name): FileEntry => {
    const blobs = (typeof content === "string" ? [content] : content)
      .map((bytes) => Buffer.from(bytes as string))
      .filter((bytes) => bytes.length > 0);
    const dataBytes = blobs.reduce((sum, bytes) => sum + bytes.length, 0);
    const sizeBytes = holes.reduce((sum, hole) => sum + hole.lengthBytes, dataBytes);
    const list = blobs.map((bytes) => ({ id: store.put(bytes), lengthBytes: bytes.length }));
    const file: FileEntry = { ...COMMON, ...others, name, type: "file", sizeBytes, content: list, holes };
    return blobsInList === undefined ? file : { ...file, content: listsOf(store, list, blobsInList), listed: true };
  };
}

function listsOf(store: BlobStore, content: readonly ContentBlob[], blobsInList: number): ContentBlob[] {
  const lists: ContentBlob[] = [];
  for (let at = 0; at < content.length; at += blobsInList) {
    const part = content.slice(at, at + blobsInList);
    const lengthBytes = part.reduce((sum, blob) => sum + blob.lengthBytes, 0);
    lists.push({ id: store.put(encodeContentList(part)), lengthBytes });
  }
  return lists;
}

export function madeUpLink(target: string, attributes: Attributes = {}): MadeUpEntry {
  return (_store, name) => ({
    ...COMMON,
    mode: 0o777,
    ...attributes,
    name,
    type: "symlink",
    target: rawPathFromText(target),
  });
}

export function madeUpSpecial(type: "fifo" | "socket", attributes: Attributes = {}): MadeUpEntry {
  return (_store, name) => ({ ...COMMON, ...attributes, name, type });
}

export function madeUpDevice(
  type: "char" | "block",
  major: number,
  minor: number,
  attributes: Attributes = {},
): MadeUpEntry {
  return (_store, name) => ({ ...COMMON, ...attributes, name, type, major, minor });
}

/** Names are text, or raw bytes with one character a byte where `rawNames` says so. `partSize`: split into such parts. */
export function madeUpFolder(
  children: Readonly<Record<string, MadeUpEntry>>,
  attributes: Attributes & { readonly partSize?: number; readonly rawNames?: boolean } = {},
): MadeUpEntry {
  const { partSize, rawNames = false, ...others } = attributes;
  return (store, name): DirectoryEntry => {
    const entries = Object.entries(children)
      .map(([childName, make]) => make(store, rawNames ? (childName as RawPath) : rawPathFromText(childName)))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const tree = partSize === undefined ? store.put(leafOf(entries)) : store.put(fanOf(store, entries, partSize));
    return { ...COMMON, mode: 0o755, ...others, name, type: "directory", tree };
  };
}

function leafOf(entries: readonly TreeEntry[]): Buffer {
  return encodeLeaf(entries.map((entry) => encodeEntry(entry)));
}

function fanOf(store: BlobStore, entries: readonly TreeEntry[], partSize: number): Buffer {
  const parts: FanPart[] = [];
  for (let at = 0; at < entries.length; at += partSize) {
    const part = entries.slice(at, at + partSize);
    parts.push({ id: store.put(leafOf(part)), count: part.length, firstName: part[0].name });
  }
  return encodeFan(parts);
}

export interface MadeUpSnapshot {
  readonly view: SnapshotView;
  readonly store: BlobStore;
  readonly top: DirectoryEntry;
}

/** A snapshot whose top directory is this folder. Several may share a store. */
export function madeUpSnapshot(folder: MadeUpEntry, store: BlobStore = createBlobStore()): MadeUpSnapshot {
  const top = folder(store, "" as RawPath) as DirectoryEntry;
  return { view: openSnapshotView(store, top), store, top };
}
