/** Trees: what is in a directory (docs/format.md, "Tree"). */
import type { FileType } from "../platform/file-stat.ts";
import { displayPath } from "../platform/raw-path.ts";
import type { RawPath } from "../platform/raw-path.ts";
import type { ByteReader, ByteWriter } from "./codec.ts";
import {
  createWriter,
  damaged,
  damagedAt,
  expectEnd,
  readCount,
  readI64,
  readLatin1,
  readRaw,
  readText,
  readU32,
  readU8,
  readVarint,
  readerOf,
  remainingBytes,
  reserve,
  skip,
  varintLength,
  writeI64,
  writeLatin1,
  writeBytes,
  writeRaw,
  writeText,
  writeU32,
  writeVarint,
  writtenView,
} from "./codec.ts";
import { MAXIMUM_BLOB_BYTES } from "./frame.ts";

/** A blob's id: the 32 bytes of its keyed hash, as 64 hex digits where it is text. */
export type BlobId = Uint8Array & { readonly __blobId?: true };

/** One name in a directory, as stored in a tree (docs/format.md, "Tree"). */
export type TreeEntry = FileEntry | DirectoryEntry | SymlinkEntry | DeviceEntry | SpecialEntry;

export interface EntryAttributes {
  readonly name: RawPath;
  readonly type: FileType;
  /** The low 12 bits of st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Empty where the number has no name on the host. */
  readonly user: string;
  readonly group: string;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** See `INODE_FLAGS`; 0 for most. */
  readonly inodeFlags: number;
  readonly xattrs: readonly ExtendedAttribute[];
  /** Equal for all names of one inode in a snapshot; undefined where there is only one name. Never for directories. */
  readonly hardLink: Uint8Array | undefined;
}

export interface ExtendedAttribute {
  /** With its namespace: `user.comment`, `security.capability`, `system.posix_acl_access`. */
  readonly name: RawPath;
  readonly value: Uint8Array;
}

export interface FileEntry extends EntryAttributes {
  readonly type: "file";
  readonly sizeBytes: number;
  /** The file's data in order, without what lies in holes. */
  readonly content: readonly ContentBlob[];
  /**
   * True for a file of so many pieces that one tree blob could not hold their ids (some 200 GiB). Then `content` names
   * content lists (tree blobs: `decodeContentList`), each with the length of the data that it lists.
   */
  readonly listed?: boolean;
  /** Ranges that read as zeros and take no space, in ascending order, apart from each other. */
  readonly holes: readonly Hole[];
}

export interface ContentBlob {
  readonly id: BlobId;
  readonly lengthBytes: number;
}

export interface Hole {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Of blobs or ranges, all together. */
export function lengthOf(parts: readonly { readonly lengthBytes: number }[]): number {
  let sum = 0;
  for (const { lengthBytes } of parts) sum += lengthBytes;
  return sum;
}

export interface DirectoryEntry extends EntryAttributes {
  readonly type: "directory";
  /** The tree with what is in it. */
  readonly tree: BlobId;
}

export interface SymlinkEntry extends EntryAttributes {
  readonly type: "symlink";
  readonly target: RawPath;
}

export interface DeviceEntry extends EntryAttributes {
  readonly type: "char" | "block";
  readonly major: number;
  readonly minor: number;
}

export interface SpecialEntry extends EntryAttributes {
  readonly type: "fifo" | "socket";
}

const TYPES: readonly FileType[] = ["file", "directory", "symlink", "fifo", "socket", "char", "block"];
const TYPE_NUMBERS: Readonly<Record<FileType, number>> = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  char: 6,
  block: 7,
};

const HAS_XATTRS = 1;
const HAS_HARD_LINK = 2;
const HAS_HOLES = 4;
const HAS_INODE_FLAGS = 8;
const HAS_LISTS = 16;
const ALL_FLAGS = 31;

const LEAF = 1;
const FAN = 2;
const CONTENT_LIST = 3;

/** As everywhere on Linux (NAME_MAX, XATTR_NAME_MAX). A name that is longer cannot be saved. */
export const MAXIMUM_NAME_BYTES = 255;
const MAXIMUM_MODE = 0o7777;
const MAXIMUM_U32 = 0xffff_ffff;

/** Encodes entry after entry into memory of its own, without allocating for each. */
export interface EntryEncoder {
  /** The encoded entry; a view that is overwritten by the next call. */
  encode(entry: TreeEntry): Buffer;
}

/** Room before an entry's body for the varint of its length. */
const LENGTH_ROOM = 8;

export function createEntryEncoder(): EntryEncoder {
  const output = createWriter(4096);
  return {
    encode(entry) {
      const start = writeEntry(output, entry);
      return output.buffer.subarray(start, output.length);
    },
  };
}

/** Writes an entry alone, from the place that is given to the end. */
function writeEntry(output: ByteWriter, entry: TreeEntry): number {
  output.length = LENGTH_ROOM;
  writeEntryBody(output, entry);
  const end = output.length;
  const bodyLength = end - LENGTH_ROOM;
  const start = LENGTH_ROOM - varintLength(bodyLength);
  output.length = start;
  writeVarint(output, bodyLength);
  output.length = end;
  return start;
}

const sharedOutput = createWriter(4096);

/** One entry in fresh memory. Throws a `RangeError` for an entry that no reader would take. */
export function encodeEntry(entry: TreeEntry): Buffer {
  const start = writeEntry(sharedOutput, entry);
  const copy = Buffer.allocUnsafe(sharedOutput.length - start);
  sharedOutput.buffer.copy(copy, 0, start, sharedOutput.length);
  return copy;
}

function writeEntryBody(output: ByteWriter, entry: TreeEntry): void {
  checkAttributes(entry);
  const holes = entry.type === "file" ? entry.holes : NO_HOLES;
  const flags =
    (entry.xattrs.length > 0 ? HAS_XATTRS : 0) |
    (entry.hardLink !== undefined ? HAS_HARD_LINK : 0) |
    (holes.length > 0 ? HAS_HOLES : 0) |
    (entry.inodeFlags !== 0 ? HAS_INODE_FLAGS : 0) |
    (entry.type === "file" && entry.listed === true ? HAS_LISTS : 0);
  reserve(output, 2);
  output.buffer[output.length++] = TYPE_NUMBERS[entry.type];
  output.buffer[output.length++] = flags;
  writeVarint(output, entry.mode);
  writeVarint(output, entry.uid);
  writeVarint(output, entry.gid);
  writeI64(output, entry.mtimeSeconds);
  writeU32(output, entry.mtimeNanoseconds);
  writeLatin1(output, entry.name);
  writeText(output, entry.user);
  writeText(output, entry.group);
  switch (entry.type) {
    case "file":
      writeContent(output, entry);
      break;
    case "directory":
      writeRaw(output, entry.tree);
      break;
    case "symlink":
      writeLatin1(output, entry.target);
      break;
    case "char":
    case "block":
      writeVarint(output, entry.major);
      writeVarint(output, entry.minor);
      break;
    case "fifo":
    case "socket":
      break;
  }
  if (flags === 0) return;
  if (flags & HAS_XATTRS) writeXattrs(output, entry.xattrs);
  if (entry.hardLink !== undefined) writeRaw(output, entry.hardLink);
  if (flags & HAS_HOLES) {
    writeVarint(output, holes.length);
    for (const hole of holes) {
      writeVarint(output, hole.offset);
      writeVarint(output, hole.lengthBytes);
    }
  }
  if (flags & HAS_INODE_FLAGS) writeVarint(output, entry.inodeFlags);
}

const NO_HOLES: readonly Hole[] = [];

/** What is written wrong could never be read again: better to stop here. */
function checkAttributes(entry: TreeEntry): void {
  const good =
    entry.name.length <= MAXIMUM_NAME_BYTES &&
    isWithin(entry.mode, MAXIMUM_MODE) &&
    isWithin(entry.uid, MAXIMUM_U32) &&
    isWithin(entry.gid, MAXIMUM_U32) &&
    isWithin(entry.mtimeNanoseconds, 999_999_999) &&
    isWithin(entry.inodeFlags, MAXIMUM_U32) &&
    Number.isSafeInteger(entry.mtimeSeconds) &&
    (entry.hardLink === undefined || (entry.hardLink.length === 16 && entry.type !== "directory")) &&
    (entry.type !== "directory" || entry.tree.length === 32);
  if (!good) throw new RangeError(`"${displayPath(entry.name)}" has attributes that a tree cannot hold`);
}

function isWithin(value: number, maximum: number): boolean {
  return value >= 0 && value <= maximum && Number.isInteger(value);
}

function writeContent(output: ByteWriter, entry: FileEntry): void {
  const { content } = entry;
  writeVarint(output, entry.sizeBytes);
  let sum = writeBlobs(output, content);
  for (let index = 0; index < entry.holes.length; index++) sum += entry.holes[index].lengthBytes;
  if (sum !== entry.sizeBytes) {
    throw new RangeError(`"${displayPath(entry.name)}" has ${entry.sizeBytes} bytes, its blobs and holes ${sum}`);
  }
}

/** Gives the length of all together. */
function writeBlobs(output: ByteWriter, content: readonly ContentBlob[]): number {
  writeVarint(output, content.length);
  let sum = 0;
  for (let index = 0; index < content.length; index++) {
    const { id, lengthBytes } = content[index];
    writeRaw(output, id);
    writeVarint(output, lengthBytes);
    sum += lengthBytes;
  }
  return sum;
}

function writeXattrs(output: ByteWriter, xattrs: readonly ExtendedAttribute[]): void {
  const sorted = xattrs.length === 1 ? xattrs : xattrs.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  writeVarint(output, sorted.length);
  for (const { name, value } of sorted) {
    writeLatin1(output, name);
    writeBytes(output, value);
  }
}

/** The entry that stands at `offset`. Throws `DamagedError`. Buffers in the result are views of `bytes`. */
export function decodeEntry(bytes: Uint8Array, offset = 0, what = "tree entry"): TreeEntry {
  return readEntry(readerOf(bytes, what, offset));
}

/** Reads one entry and moves on behind it. */
export function readEntry(input: ByteReader): TreeEntry {
  const end = readEntryEnd(input);
  const entry = readEntryBody({ bytes: input.bytes, end, what: input.what, at: input.at });
  input.at = end;
  return entry;
}

/** Shortest body: a FIFO of a one-letter name. */
const MINIMUM_BODY_BYTES = 20;

function readEntryEnd(input: ByteReader): number {
  const length = readVarint(input, MAXIMUM_BLOB_BYTES, "length of an entry");
  if (length < MINIMUM_BODY_BYTES) throw damagedAt(input, `an entry of ${length} bytes is too short`);
  if (length > remainingBytes(input)) throw damagedAt(input, "an entry is cut off");
  return input.at + length;
}

function readEntryBody(input: ByteReader): TreeEntry {
  const type = TYPES[readU8(input, "type") - 1];
  if (type === undefined) throw damagedAt(input, `file type ${input.bytes[input.at - 1]} is unknown`);
  const flags = readVarint(input, ALL_FLAGS, "flags");
  const mode = readVarint(input, MAXIMUM_MODE, "mode");
  const uid = readVarint(input, MAXIMUM_U32, "uid");
  const gid = readVarint(input, MAXIMUM_U32, "gid");
  const mtimeSeconds = readI64(input, "time");
  const mtimeNanoseconds = readU32(input, "nanoseconds");
  if (mtimeNanoseconds > 999_999_999) throw damagedAt(input, `${mtimeNanoseconds} nanoseconds are too many`);
  const name = readName(input);
  const user = readText(input, 0xffff, "user");
  const group = readText(input, 0xffff, "group");

  let sizeBytes = 0;
  const listed = (flags & HAS_LISTS) !== 0;
  let content: ContentBlob[] = [];
  let tree: Buffer | undefined;
  let target = "" as RawPath;
  let major = 0;
  let minor = 0;
  switch (type) {
    case "file":
      sizeBytes = readVarint(input, undefined, "size");
      content = readContent(input, listed);
      break;
    case "directory":
      tree = readRaw(input, 32, "tree");
      break;
    case "symlink":
      target = readLatin1(input, remainingBytes(input), "target") as RawPath;
      break;
    case "char":
    case "block":
      major = readVarint(input, MAXIMUM_U32, "major number");
      minor = readVarint(input, MAXIMUM_U32, "minor number");
      break;
    case "fifo":
    case "socket":
      break;
  }
  const xattrs = flags & HAS_XATTRS ? readXattrs(input) : [];
  const hardLink = flags & HAS_HARD_LINK ? readRaw(input, 16, "hard link") : undefined;
  if (hardLink !== undefined && type === "directory") throw damagedAt(input, "a directory cannot have hard links");
  if (flags & (HAS_HOLES | HAS_LISTS) && type !== "file")
    throw damagedAt(input, `a ${type} cannot have holes or lists`);
  const holes = flags & HAS_HOLES ? readHoles(input, sizeBytes) : [];
  const inodeFlags = flags & HAS_INODE_FLAGS ? readVarint(input, MAXIMUM_U32, "inode flags") : 0;
  expectEnd(input);

  const attributes = {
    name,
    type,
    mode,
    uid,
    gid,
    user,
    group,
    mtimeSeconds,
    mtimeNanoseconds,
    inodeFlags,
    xattrs,
    hardLink,
  };
  switch (type) {
    case "file":
      checkSize(input, sizeBytes, content, holes);
      if (listed) return { ...attributes, type, sizeBytes, content, listed, holes };
      return { ...attributes, type, sizeBytes, content, holes };
    case "directory":
      return { ...attributes, type, tree: tree! };
    case "symlink":
      return { ...attributes, type, target };
    case "char":
    case "block":
      return { ...attributes, type, major, minor };
    case "fifo":
    case "socket":
      return { ...attributes, type };
  }
}

/** A name; empty only for the top directory, which stands in no tree. */
function readName(input: ByteReader): RawPath {
  const name = readLatin1(input, MAXIMUM_NAME_BYTES, "name");
  if (name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
    throw damagedAt(input, `"${displayPath(name as RawPath)}" is no name of a file`);
  }
  return name as RawPath;
}

function readContent(input: ByteReader, listed: boolean): ContentBlob[] {
  const maximumLength = listed ? Number.MAX_SAFE_INTEGER : MAXIMUM_BLOB_BYTES;
  const count = readCount(input, 33, undefined, "number of blobs");
  const content: ContentBlob[] = [];
  for (let index = 0; index < count; index++) {
    const id = readRaw(input, 32, "blob id");
    content.push({ id, lengthBytes: readVarint(input, maximumLength, "length of a blob") });
  }
  return content;
}

function readXattrs(input: ByteReader): ExtendedAttribute[] {
  const count = readCount(input, 3, undefined, "number of extended attributes");
  const xattrs: ExtendedAttribute[] = [];
  let previous = "";
  for (let index = 0; index < count; index++) {
    const name = readLatin1(input, MAXIMUM_NAME_BYTES, "name of an extended attribute");
    if (name <= previous || name.includes("\0"))
      throw damagedAt(input, "names of extended attributes are out of order");
    previous = name;
    const length = readVarint(input, remainingBytes(input), "length of an extended attribute");
    xattrs.push({ name: name as RawPath, value: readRaw(input, length, "extended attribute") });
  }
  return xattrs;
}

function readHoles(input: ByteReader, sizeBytes: number): Hole[] {
  const count = readCount(input, 2, undefined, "number of holes");
  const holes: Hole[] = [];
  let previousEnd = 0;
  for (let index = 0; index < count; index++) {
    const offset = readVarint(input, sizeBytes, "offset of a hole");
    const lengthBytes = readVarint(input, sizeBytes, "length of a hole");
    if (offset < previousEnd || lengthBytes === 0 || offset + lengthBytes > sizeBytes) {
      throw damagedAt(input, "its holes overlap or reach beyond the end");
    }
    previousEnd = offset + lengthBytes;
    holes.push({ offset, lengthBytes });
  }
  return holes;
}

function checkSize(input: ByteReader, sizeBytes: number, content: ContentBlob[], holes: Hole[]): void {
  const sum = lengthOf(content) + lengthOf(holes);
  if (sum !== sizeBytes) throw damagedAt(input, `a file of ${sizeBytes} bytes has blobs and holes of ${sum}`);
}

/** Moves behind all that precedes an entry's name, and gives its type number, and 256 more if it has lists. */
function skipToName(input: ByteReader): number {
  readEntryEnd(input);
  const type = readU8(input, "type");
  const flags = readVarint(input, ALL_FLAGS, "flags");
  readVarint(input, MAXIMUM_MODE, "mode");
  readVarint(input, MAXIMUM_U32, "uid");
  readVarint(input, MAXIMUM_U32, "gid");
  skip(input, 12, "time");
  return flags & HAS_LISTS ? type + WITH_LISTS : type;
}

/** The name of an encoded entry; nothing else of it is looked at. */
export function entryName(bytes: Uint8Array, offset = 0, what = "tree entry"): RawPath {
  const input = readerOf(bytes, what, offset);
  skipToName(input);
  return readName(input);
}

/**
 * Whether an encoded entry is a file that its blobs, one after another, are the whole content of, and that has one name:
 * no holes, no content lists, no hard links.
 */
export function isPlainFile(bytes: Uint8Array, offset = 0, what = "tree entry"): boolean {
  const input = readerOf(bytes, what, offset);
  readEntryEnd(input);
  if (readU8(input, "type") !== TYPE_NUMBERS.file) return false;
  return (readVarint(input, ALL_FLAGS, "flags") & (HAS_HOLES | HAS_LISTS | HAS_HARD_LINK)) === 0;
}

const WITH_LISTS = 256;

/** What an encoded entry needs: a piece of a file, a content list of a file, or the tree of a directory. */
export type ContentKind = "data" | "list" | "tree";

/**
 * Calls back for each blob that an encoded entry names, in order. The id is the 32 bytes of `bytes` from `idOffset`;
 * `lengthBytes` is that of the piece, or of the data that a list lists, and 0 for a tree.
 */
export function contentIds(
  bytes: Uint8Array,
  callback: (idOffset: number, lengthBytes: number, kind: ContentKind) => void,
  offset = 0,
  what = "tree entry",
): void {
  const input = readerOf(bytes, what, offset);
  const type = skipToName(input);
  const kind = CONTENT_KINDS.get(type);
  if (kind === undefined) return;
  for (let field = 0; field < 3; field++) skip(input, readVarint(input), "name");
  if (kind === "tree") {
    callback(skip(input, 32, "tree"), 0, kind);
    return;
  }
  readVarint(input, undefined, "size");
  const count = readCount(input, 33, undefined, "number of blobs");
  for (let index = 0; index < count; index++) {
    const idOffset = skip(input, 32, "blob id");
    callback(idOffset, readVarint(input, undefined, "length of a blob"), kind);
  }
}

const CONTENT_KINDS = new Map<number, ContentKind>([
  [TYPE_NUMBERS.file, "data"],
  [TYPE_NUMBERS.file + WITH_LISTS, "list"],
  [TYPE_NUMBERS.directory, "tree"],
]);

/** Pieces that a content list holds at most: with it, a tree blob is of some 300 KiB. */
export const MAXIMUM_LISTED_BLOBS = 8192;

/** The tree blob that lists pieces of a file, for files of more pieces than an entry should hold. */
export function encodeContentList(content: readonly ContentBlob[]): Buffer {
  const output = createWriter(16 + content.length * 36);
  output.buffer[output.length++] = CONTENT_LIST;
  writeBlobs(output, content);
  return writtenView(output);
}

/** Undoes `encodeContentList`; ids are views. Throws `DamagedError`, naming the list by `what`. */
export function decodeContentList(bytes: Uint8Array, what = "content list"): ContentBlob[] {
  const input = readerOf(bytes, what);
  if (readU8(input, "type of tree") !== CONTENT_LIST) throw damaged(what, "it is no content list");
  const content = readContent(input, false);
  expectEnd(input);
  return content;
}

/** A leaf of a large directory, as its fan names it. */
export interface FanPart {
  /** The leaf's tree blob. */
  readonly id: BlobId;
  /** Entries in it. */
  readonly count: number;
  readonly firstName: RawPath;
}

/** The tree blob of encoded entries, which are in ascending order of name. */
export function encodeLeaf(entries: readonly Uint8Array[]): Buffer {
  const output = createWriter(entries.reduce((sum, entry) => sum + entry.length, 9));
  output.buffer[output.length++] = LEAF;
  writeVarint(output, entries.length);
  for (const entry of entries) writeRaw(output, entry);
  return writtenView(output);
}

/** Room for a leaf's head before its entries. */
export const LEAF_HEAD_BYTES = 9;

/**
 * The same of `count` encoded entries that stand in `bytes` one after another from `LEAF_HEAD_BYTES` on to the end. A view
 * of `bytes`, in which the head is written before the entries.
 */
export function leafInPlace(bytes: Buffer, count: number): Buffer {
  const head = createWriter(LEAF_HEAD_BYTES);
  head.buffer[head.length++] = LEAF;
  writeVarint(head, count);
  const start = LEAF_HEAD_BYTES - head.length;
  bytes.set(writtenView(head), start);
  return bytes.subarray(start);
}

/** The tree blob of a directory that was split; parts in ascending order of name. */
export function encodeFan(parts: readonly FanPart[]): Buffer {
  const output = createWriter(16 + parts.length * 80);
  output.buffer[output.length++] = FAN;
  writeVarint(output, parts.length);
  for (const part of parts) {
    writeRaw(output, part.id);
    writeVarint(output, part.count);
    writeLatin1(output, part.firstName);
  }
  return writtenView(output);
}

export type DecodedTree =
  | {
      readonly kind: "leaf";
      readonly count: number;
      /** The entries, decoded one by one as they are asked for. Throws `DamagedError` on the way. */
      readonly entries: Iterable<TreeEntry>;
      /** The same without decoding more than the names: views of the tree's bytes. */
      readonly encodedEntries: Iterable<Buffer>;
    }
  | { readonly kind: "fan"; readonly parts: readonly FanPart[] };

/** What a tree blob holds. Throws `DamagedError`, naming the tree by `what`. */
export function iterateTree(bytes: Uint8Array, what = "tree"): DecodedTree {
  const input = readerOf(bytes, what);
  const type = readU8(input, "type of tree");
  if (type === FAN) return { kind: "fan", parts: readFanParts(input) };
  if (type !== LEAF) throw damaged(what, `type of tree ${type} is unknown`);
  const count = readCount(input, 1 + MINIMUM_BODY_BYTES, undefined, "number of entries");
  const start = input.at;
  return {
    kind: "leaf",
    count,
    entries: { [Symbol.iterator]: () => decodedEntries(readerOf(bytes, what, start), count) },
    encodedEntries: { [Symbol.iterator]: () => encodedEntries(readerOf(bytes, what, start), count) },
  };
}

function* decodedEntries(input: ByteReader, count: number): Generator<TreeEntry, undefined> {
  let previous = "";
  for (let index = 0; index < count; index++) {
    const entry = readEntry(input);
    checkOrder(input, previous, entry.name);
    previous = entry.name;
    yield entry;
  }
  expectEnd(input);
}

function* encodedEntries(input: ByteReader, count: number): Generator<Buffer, undefined> {
  let previous = "";
  for (let index = 0; index < count; index++) {
    const start = input.at;
    const end = readEntryEnd(input);
    const name = entryName(input.bytes, start, input.what);
    checkOrder(input, previous, name);
    previous = name;
    input.at = end;
    yield input.bytes.subarray(start, end);
  }
  expectEnd(input);
}

function checkOrder(input: ByteReader, previous: string, name: string): void {
  // The empty name of no entry at all is the smallest, so an entry without a name is out of order too.
  if (name <= previous) throw damagedAt(input, "its names are out of order, or one is there twice");
}

function readFanParts(input: ByteReader): FanPart[] {
  const count = readCount(input, 32 + 1 + 2, undefined, "number of parts");
  const parts: FanPart[] = [];
  let previous = "";
  for (let index = 0; index < count; index++) {
    const id = readRaw(input, 32, "id of a part");
    const entries = readVarint(input, MAXIMUM_U32, "entries of a part");
    const firstName = readName(input);
    checkOrder(input, previous, firstName);
    previous = firstName;
    parts.push({ id, count: entries, firstName });
  }
  expectEnd(input);
  return parts;
}
