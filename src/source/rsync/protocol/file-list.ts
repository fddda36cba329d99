import type { RawPath } from "../../../platform/raw-path.ts";
import { ByteStore, Column } from "./columns.ts";
import { RsyncProtocolError } from "./rsync-error.ts";
import { SegmentPool } from "./segment-pool.ts";

/** Types of files in `st_mode`. */
export const MODE = {
  typeMask: 0o170000,
  socket: 0o140000,
  symlink: 0o120000,
  file: 0o100000,
  block: 0o060000,
  directory: 0o040000,
  character: 0o020000,
  fifo: 0o010000,
} as const;

export const isDirectory = (mode: number): boolean => (mode & MODE.typeMask) === MODE.directory;
export const isRegular = (mode: number): boolean => (mode & MODE.typeMask) === MODE.file;
export const isSymlink = (mode: number): boolean => (mode & MODE.typeMask) === MODE.symlink;
export const isDevice = (mode: number): boolean =>
  (mode & MODE.typeMask) === MODE.character || (mode & MODE.typeMask) === MODE.block;
export const isSpecial = (mode: number): boolean =>
  (mode & MODE.typeMask) === MODE.fifo || (mode & MODE.typeMask) === MODE.socket;

/** What one entry of the list says, beside its name. */
export interface ListedFile {
  /** `st_mode` with the type of file. */
  readonly mode: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly uid: number;
  readonly gid: number;
}

const DIRECTORY_TABLE_START = 1024;
const MOST_OWNERS = 1_000_000;

/**
 * An rsync's list of files: about 40 bytes a file and its name, once. rsync sends the list whole, and both sides number its
 * entries by a sorted order; so it has to be kept. What of it is not in use waits in a temporary file.
 *
 * Entries are known by the number in which they were added. Directories have a second number, from 0, the top: also
 * those that are only implied by what lies below them.
 */
export class FileList {
  readonly store: ByteStore;
  #count = 0;
  readonly #parent: Column;
  readonly #name: Column;
  readonly #mode: Column;
  readonly #size: Column;
  readonly #mtime: Column;
  readonly #nanoseconds: Column;
  readonly #owner: Column;
  /** Of symbolic links the target's place, of devices that of their numbers, of directories their number. */
  readonly #detail: Column;
  /** Of hard links: 1 + the entry that was listed first. */
  readonly linkGroup: Column;
  /** 1 + number in the session's lists of ACLs and of sets of attributes. */
  readonly accessAcl: Column;
  readonly defaultAcl: Column;
  readonly xattrs: Column;
  /** With --checksum: place of the file's sum. */
  readonly checksum: Column;
  readonly #owners: { readonly uid: number; readonly gid: number }[] = [];
  readonly #ownerNumbers = new Map<string, number>();
  #lastOwner = 0;

  #directoryCount = 0;
  readonly #directoryParent = new Column("u32");
  readonly #directoryName = new Column("u32");
  /** 1 + the first entry of a directory; 0 for one that is only implied. */
  readonly #directoryEntry = new Column("u32");
  #directoryTable = new Uint32Array(DIRECTORY_TABLE_START);

  constructor(pool: SegmentPool = new SegmentPool()) {
    this.store = new ByteStore(pool);
    this.#parent = new Column("u32", pool);
    this.#name = new Column("u32", pool);
    this.#mode = new Column("u16", pool);
    this.#size = new Column("f64", pool);
    this.#mtime = new Column("f64", pool);
    this.#nanoseconds = new Column("u32", pool);
    this.#owner = new Column("u32", pool);
    this.#detail = new Column("u32", pool);
    this.linkGroup = new Column("u32", pool);
    this.accessAcl = new Column("u32", pool);
    this.defaultAcl = new Column("u32", pool);
    this.xattrs = new Column("u32", pool);
    this.checksum = new Column("u32", pool);
    this.#addDirectory(0, this.store.add(new Uint8Array(0), 0, 0));
  }

  get count(): number {
    return this.#count;
  }

  get directoryCount(): number {
    return this.#directoryCount;
  }

  /** Adds an entry to the directory `parent`; its name is `bytes[start, end)`. */
  add(parent: number, bytes: Uint8Array, start: number, end: number, file: ListedFile): number {
    const entry = this.#count++;
    this.#parent.set(entry, parent);
    this.#name.set(entry, this.store.add(bytes, start, end));
    this.#mode.set(entry, file.mode);
    this.#size.set(entry, file.sizeBytes);
    this.#mtime.set(entry, file.mtimeSeconds);
    if (file.mtimeNanoseconds !== 0) this.#nanoseconds.set(entry, file.mtimeNanoseconds);
    this.#owner.set(entry, this.#ownerNumber(file.uid, file.gid));
    return entry;
  }

  parentOf(entry: number): number {
    return this.#parent.get(entry);
  }

  /** Place of the entry's name in `store`. */
  namePlace(entry: number): number {
    return this.#name.get(entry);
  }

  name(entry: number): RawPath {
    return this.store.latin1(this.#name.get(entry)) as RawPath;
  }

  mode(entry: number): number {
    return this.#mode.get(entry);
  }

  sizeBytes(entry: number): number {
    return this.#size.get(entry);
  }

  file(entry: number): ListedFile {
    const owner = this.#owners[this.#owner.get(entry)];
    return {
      mode: this.#mode.get(entry),
      sizeBytes: this.#size.get(entry),
      mtimeSeconds: this.#mtime.get(entry),
      mtimeNanoseconds: this.#nanoseconds.get(entry),
      uid: owner.uid,
      gid: owner.gid,
    };
  }

  setTarget(entry: number, target: Uint8Array): void {
    this.#detail.set(entry, this.store.add(target, 0, target.length));
  }

  target(entry: number): Buffer {
    const place = this.#detail.get(entry);
    return place === 0 ? Buffer.alloc(0) : this.store.get(place);
  }

  /** 32 bits of a symbolic link's target, or of a device's numbers, in a way that `factor` chooses. */
  hashDetail(entry: number, factor: number): number {
    const place = this.#detail.get(entry);
    return place === 0 ? 0 : this.store.hash(place, factor);
  }

  setDevice(entry: number, major: number, minor: number): void {
    const numbers = Buffer.alloc(8);
    numbers.writeUInt32LE(major >>> 0, 0);
    numbers.writeUInt32LE(minor >>> 0, 4);
    this.#detail.set(entry, this.store.add(numbers, 0, 8));
  }

  device(entry: number): { readonly major: number; readonly minor: number } {
    const place = this.#detail.get(entry);
    if (place === 0) return { major: 0, minor: 0 };
    const numbers = this.store.get(place);
    return { major: numbers.readUInt32LE(0), minor: numbers.readUInt32LE(4) };
  }

  /** Says that a directory's own entry is `entry`. The first one counts where there are several. */
  setDirectory(entry: number, directory: number): void {
    this.#detail.set(entry, directory);
    if (this.#directoryEntry.get(directory) === 0) this.#directoryEntry.set(directory, entry + 1);
  }

  /** Number of the directory that an entry of that type is. */
  directoryOf(entry: number): number {
    return this.#detail.get(entry);
  }

  /** The entry of a directory, or -1 where it is only implied. */
  entryOfDirectory(directory: number): number {
    return this.#directoryEntry.get(directory) - 1;
  }

  directoryName(directory: number): RawPath {
    return this.store.latin1(this.#directoryName.get(directory)) as RawPath;
  }

  /** Place of a directory's name in `store`. */
  directoryNamePlace(directory: number): number {
    return this.#directoryName.get(directory);
  }

  parentOfDirectory(directory: number): number {
    return this.#directoryParent.get(directory);
  }

  /** The directory of that name in `parent`; it comes into being where it is not yet known. */
  directory(parent: number, bytes: Uint8Array, start: number, end: number): number {
    const mask = this.#directoryTable.length - 1;
    let slot = hashName(parent, bytes, start, end) & mask;
    for (;;) {
      const found = this.#directoryTable[slot];
      if (found === 0) break;
      if (
        this.#directoryParent.get(found) === parent &&
        this.store.equals(this.#directoryName.get(found), bytes, start, end)
      ) {
        return found;
      }
      slot = (slot + 1) & mask;
    }
    const directory = this.#addDirectory(parent, this.store.add(bytes, start, end));
    this.#directoryTable[slot] = directory;
    if (this.#directoryCount * 2 > this.#directoryTable.length) this.#growDirectoryTable();
    return directory;
  }

  /** The directory in which absolute paths begin: one without a name in the top; undefined where there are none. */
  absoluteTop(): number | undefined {
    for (let directory = 1; directory < this.#directoryCount; directory++) {
      if (this.#directoryParent.get(directory) !== 0) continue;
      if (this.store.get(this.#directoryName.get(directory)).length === 0) return directory;
    }
    return undefined;
  }

  /** Path of a directory from the top, without a slash at the start. */
  directoryPath(directory: number): RawPath {
    if (directory === 0) return "" as RawPath;
    const parts: string[] = [];
    for (let at = directory; at !== 0; at = this.#directoryParent.get(at)) parts.push(this.directoryName(at));
    return parts.reverse().join("/") as RawPath;
  }

  #addDirectory(parent: number, name: number): number {
    const directory = this.#directoryCount++;
    this.#directoryParent.set(directory, parent);
    this.#directoryName.set(directory, name);
    return directory;
  }

  #growDirectoryTable(): void {
    const table = new Uint32Array(this.#directoryTable.length * 2);
    const mask = table.length - 1;
    for (let directory = 1; directory < this.#directoryCount; directory++) {
      const name = this.store.get(this.#directoryName.get(directory));
      let slot = hashName(this.#directoryParent.get(directory), name, 0, name.length) & mask;
      while (table[slot] !== 0) slot = (slot + 1) & mask;
      table[slot] = directory;
    }
    this.#directoryTable = table;
  }

  #ownerNumber(uid: number, gid: number): number {
    const last = this.#owners[this.#lastOwner];
    if (last !== undefined && last.uid === uid && last.gid === gid) return this.#lastOwner;
    const key = `${uid}:${gid}`;
    let number = this.#ownerNumbers.get(key);
    if (number === undefined) {
      if (this.#owners.length === MOST_OWNERS) {
        throw new RsyncProtocolError("the other side lists files of too many different owners");
      }
      number = this.#owners.push({ uid, gid }) - 1;
      this.#ownerNumbers.set(key, number);
    }
    this.#lastOwner = number;
    return number;
  }
}

function hashName(parent: number, bytes: Uint8Array, start: number, end: number): number {
  // FNV-1a, with the directory mixed in first.
  let hash = 0x811c9dc5 ^ Math.imul(parent + 1, 0x9e3779b1);
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Where a path's last part lies: in which directory, and from which byte of the path on. */
export interface PlaceInTree {
  readonly parent: number;
  readonly nameStart: number;
}

/**
 * Finds the directory of a path and the start of its last part. Refuses what would lead out of the top, or is not as an
 * rsync writes it: empty, `.` and `..` parts (but `.` for the top itself), and NUL. `known` is the place of a path that
 * is the same up to its last part.
 */
export function placeInTree(
  list: FileList,
  path: Uint8Array,
  length: number,
  allowsAbsolute: boolean,
  known: PlaceInTree = TOP,
): PlaceInTree {
  let parent = known.parent;
  let start = known.nameStart;
  for (let i = start; i <= length; i++) {
    if (i < length && path[i] === 0) throw unsafeName(path, length, "it holds a NUL");
    if (i < length && path[i] !== SLASH) continue;
    const isLast = i === length;
    const partLength = i - start;
    const isRoot = start === 0 && partLength === 0 && !isLast;
    if (isRoot && !allowsAbsolute) throw unsafeName(path, length, "it is absolute");
    if (partLength === 0 && !isRoot) throw unsafeName(path, length, "it has an empty part");
    if (partLength === 2 && path[start] === DOT && path[start + 1] === DOT) {
      throw unsafeName(path, length, "it has a part ..");
    }
    if (partLength === 1 && path[start] === DOT && !(isLast && isTopDot(path, start))) {
      throw unsafeName(path, length, "it has a part .");
    }
    if (isLast) break;
    parent = list.directory(parent, path, start, i);
    start = i + 1;
  }
  return start === known.nameStart ? known : { parent, nameStart: start };
}

const TOP: PlaceInTree = { parent: 0, nameStart: 0 };
const SLASH = 0x2f;
const DOT = 0x2e;

/** `.` or `/.`: the top itself. */
function isTopDot(path: Uint8Array, start: number): boolean {
  return start === 0 || (start === 1 && path[0] === SLASH);
}

function unsafeName(path: Uint8Array, length: number, why: string): RsyncProtocolError {
  const shown = JSON.stringify(Buffer.from(path.subarray(0, Math.min(length, 200))).toString("latin1"));
  return new RsyncProtocolError(`the other side lists a file with an unsafe name, ${shown}: ${why}`);
}
