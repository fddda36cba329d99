import { makingYoungObjects } from "../../../platform/bound-heap.ts";
import { keepAcl, readFileAcls } from "./acl.ts";
import type { AclCache, FileAcls, WireAcl } from "./acl.ts";
import type { ByteInput } from "./byte-input.ts";
import type { Cursor } from "./cursor.ts";
import { FileList, MODE, isDevice, isDirectory, isRegular, isSpecial, isSymlink, placeInTree } from "./file-list.ts";
import type { ListedFile, PlaceInTree } from "./file-list.ts";
import { RsyncProtocolError } from "./rsync-error.ts";
import { AttributeSets, readAttributes } from "./xattr.ts";
import type { WireAttribute } from "./xattr.ts";

/** What both sides know of a list's form from the options and the greeting. */
export interface FileListForm {
  readonly protocol: number;
  readonly varintFlags: boolean;
  readonly safeFileList: boolean;
  readonly sendsIdZeroNames: boolean;
  /** No names of users and groups are sent. */
  readonly numericIds: boolean;
  readonly relative: boolean;
  readonly owners: boolean;
  readonly groups: boolean;
  readonly devices: boolean;
  readonly specials: boolean;
  readonly symlinks: boolean;
  readonly hardLinks: boolean;
  readonly acls: boolean;
  readonly xattrs: boolean;
  readonly accessTimes: boolean;
  readonly creationTimes: boolean;
  /** Of the sum of each file's content that --checksum adds; 0 without it. */
  readonly checksumBytes: number;
}

/** Flags of an entry (rsync.h, XMIT_*). Some bits mean one thing for directories and another for devices. */
export const ENTRY_FLAG = {
  topDirectory: 1 << 0,
  sameMode: 1 << 1,
  extended: 1 << 2,
  sameUid: 1 << 3,
  sameGid: 1 << 4,
  sameName: 1 << 5,
  longName: 1 << 6,
  sameTime: 1 << 7,
  sameDeviceMajor: 1 << 8,
  noContentDirectory: 1 << 8,
  hardLinked: 1 << 9,
  /** From protocol 30 on, for the user and the group; before, `sameDevice` and `minorIsByte`. */
  userNameFollows: 1 << 10,
  groupNameFollows: 1 << 11,
  sameDevice: 1 << 10,
  minorIsByte: 1 << 11,
  firstOfHardLink: 1 << 12,
  endWithErrors: 1 << 12,
  nanoseconds: 1 << 13,
  sameAccessTime: 1 << 14,
  creationTimeIsMtime: 1 << 17,
} as const;

/** An rsync's MAXPATHLEN, with its final NUL. */
const PATH_BYTES = 4096;
const MOST_NAMES = 1_000_000;
/** For all different ACLs of a list together; about what they take of memory. */
const MOST_ACL_BYTES = 256 * 1024 * 1024;
const ACL_BYTES = 256;
const ACL_ENTRY_BYTES = 64;

export interface ReceivedFileList {
  readonly list: FileList;
  readonly acls: AclCache;
  readonly xattrs: AttributeSets;
  /** Names of users and groups on the host; empty with numeric ids. */
  readonly users: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, string>;
  /** `IO_ERROR` bits: something could not be read and is missing. */
  readonly ioErrors: number;
}

/** What has come of a list so far. */
export type PartOfFileList = Pick<ReceivedFileList, "list" | "acls" | "xattrs">;

/**
 * Receives a whole list. Names what is wrong where the list is not one that an honest rsync sends. `onArrived` is called
 * whenever all that has come is decoded, and more is waited for, and at the end.
 */
export function receiveFileList(
  input: ByteInput,
  form: FileListForm,
  mostEntries: number,
  onArrived?: (part: PartOfFileList) => void,
): Promise<ReceivedFileList> {
  return makingYoungObjects(() => receive(input, form, mostEntries, onArrived));
}

async function receive(
  input: ByteInput,
  form: FileListForm,
  mostEntries: number,
  onArrived: ((part: PartOfFileList) => void) | undefined,
): Promise<ReceivedFileList> {
  const decoder = new FileListDecoder(form);
  const next = (from: Cursor): ReturnType<FileListDecoder["next"]> => decoder.next(from);
  let ioErrors = 0;
  for (;;) {
    const step = input.tryDecode(next);
    if (step === undefined) {
      onArrived?.(decoder);
      await input.more();
    } else if (step === true) {
      // One path may imply two thousand folders.
      if (Math.max(decoder.list.count, decoder.list.directoryCount) > mostEntries) {
        throw new RsyncProtocolError(`the other side lists more than ${mostEntries} files`, {
          hint: "save it in several parts, or raise the limit",
        });
      }
    } else {
      ioErrors = step.ioErrors;
      break;
    }
  }
  onArrived?.(decoder);
  const sendsNames = (form.owners || form.groups || form.acls) && !form.numericIds;
  const users = sendsNames && (form.owners || form.acls) ? await receiveNames(input, form) : new Map<number, string>();
  const groups = sendsNames && (form.groups || form.acls) ? await receiveNames(input, form) : new Map<number, string>();
  if (form.protocol < 30) ioErrors |= await input.decode((from) => from.int32());
  return { list: decoder.list, acls: decoder.acls, xattrs: decoder.xattrs, users, groups, ioErrors };
}

async function receiveNames(input: ByteInput, form: FileListForm): Promise<Map<number, string>> {
  const names = new Map<number, string>();
  for (let count = 0; ; count++) {
    const { id, name } = await input.decode((from) => {
      const number = form.protocol < 30 ? from.uint32() : from.varint() >>> 0;
      if (number === 0 && !form.sendsIdZeroNames) return { id: number, name: "" };
      return { id: number, name: from.view(from.byte()).toString("utf8") };
    });
    if (name !== "") names.set(id, name);
    if (id === 0) return names;
    if (count > MOST_NAMES) throw new RsyncProtocolError("the other side sends too many names of users or groups");
  }
}

interface ReadAttributes {
  readonly acls: FileAcls | undefined;
  readonly xattrs: readonly WireAttribute[] | number | undefined;
}

class FileListDecoder {
  readonly list = new FileList();
  readonly acls: AclCache = { access: [], default: [] };
  readonly xattrs = new AttributeSets();
  readonly #form: FileListForm;
  /** The path of the entry before. While one is read, only what the two do not share is written over. */
  readonly #path = Buffer.alloc(PATH_BYTES);
  #pathLength = 0;
  #place: PlaceInTree = { parent: 0, nameStart: 0 };
  #file: ListedFile = { mode: 0, sizeBytes: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, uid: 0, gid: 0 };
  #deviceMajor = 0;
  #linkDevice = 0;
  readonly #linkGroups = new Map<string, number>();
  #aclBytes = 0;

  constructor(form: FileListForm) {
    this.#form = form;
  }

  /** Reads one entry and adds it: true; or the end of the list. Changes nothing before all of an entry is read. */
  next(from: Cursor): true | { readonly ioErrors: number } {
    const form = this.#form;
    let flags = form.varintFlags ? from.varint() : from.byte();
    if (flags === 0) return { ioErrors: form.varintFlags ? from.varint() : 0 };
    if (!form.varintFlags) {
      if (flags & ENTRY_FLAG.extended) flags |= from.byte() << 8;
      if (flags === (ENTRY_FLAG.extended | ENTRY_FLAG.endWithErrors)) {
        if (!form.safeFileList) throw new RsyncProtocolError("rsync protocol: an unexpected end of the file list");
        return { ioErrors: from.varint() };
      }
    }
    this.#entry(from, flags);
    return true;
  }

  #entry(from: Cursor, flags: number): void {
    const { shared, length } = this.#readPath(from, flags);
    const first = this.#readLinkReference(from, flags);
    if (first >= 0) return this.#addAbbreviated(from, first, shared, length);

    const form = this.#form;
    const is30 = form.protocol >= 30;
    const sizeBytes = is30 ? from.varlong(3) : from.longInt();
    if (sizeBytes < 0) throw new RsyncProtocolError("rsync protocol: a file's size is negative");
    const mtimeSeconds = flags & ENTRY_FLAG.sameTime ? this.#file.mtimeSeconds : is30 ? from.varlong(4) : from.uint32();
    const mtimeNanoseconds =
      flags & ENTRY_FLAG.nanoseconds ? from.boundedVarint(999_999_999, "a time's nanoseconds") : 0;
    if (form.creationTimes && !(flags & ENTRY_FLAG.creationTimeIsMtime)) from.varlong(4);
    const mode = flags & ENTRY_FLAG.sameMode ? this.#file.mode : readMode(from);
    if (form.accessTimes && !isDirectory(mode) && !(flags & ENTRY_FLAG.sameAccessTime)) from.varlong(4);
    const uid = this.#readId(
      from,
      form.owners && !(flags & ENTRY_FLAG.sameUid),
      flags & ENTRY_FLAG.userNameFollows,
      this.#file.uid,
    );
    const gid = this.#readId(
      from,
      form.groups && !(flags & ENTRY_FLAG.sameGid),
      flags & ENTRY_FLAG.groupNameFollows,
      this.#file.gid,
    );
    const device = this.#readDevice(from, flags, mode);
    const target = form.symlinks && isSymlink(mode) ? readTarget(from, is30) : undefined;
    const inode = this.#readInode(from, flags, mode);
    const checksum = form.checksumBytes > 0 && isRegular(mode) ? from.view(form.checksumBytes) : undefined;
    const attributes = this.#readAttributes(from, mode);

    const hasSize = isRegular(mode) || isSymlink(mode);
    const file = { mode, sizeBytes: hasSize ? sizeBytes : 0, mtimeSeconds, mtimeNanoseconds, uid, gid };
    const entry = this.#add(shared, length, file);
    if (device !== undefined) {
      this.#deviceMajor = device.major;
      if (isDevice(mode)) this.list.setDevice(entry, device.major, device.minor);
    }
    if (target !== undefined) this.list.setTarget(entry, target);
    if (inode !== undefined) {
      this.#linkDevice = inode.device;
      this.#join(entry, `${inode.device}:${inode.inode}`);
    } else if (is30 && form.hardLinks && flags & ENTRY_FLAG.hardLinked && !isDirectory(mode)) {
      this.list.linkGroup.set(entry, entry + 1);
    }
    if (checksum !== undefined) this.list.checksum.set(entry, this.list.store.add(checksum, 0, checksum.length));
    this.#keepAttributes(entry, attributes);
  }

  /** Builds the path; `shared` bytes of it are those of the path before. */
  #readPath(from: Cursor, flags: number): { readonly shared: number; readonly length: number } {
    const shared = flags & ENTRY_FLAG.sameName ? from.byte() : 0;
    const rest = flags & ENTRY_FLAG.longName ? (this.#form.protocol < 30 ? from.int32() : from.varint()) : from.byte();
    if (rest < 0 || shared + rest >= PATH_BYTES) throw new RsyncProtocolError("rsync protocol: a path is too long");
    if (shared > this.#pathLength) throw new RsyncProtocolError("rsync protocol: a path continues what is not there");
    if (shared + rest === 0) throw new RsyncProtocolError("rsync protocol: a path is empty");
    from.copyInto(this.#path, shared, rest);
    return { shared, length: shared + rest };
  }

  /** The entry that this one is a hard link of, where the rest of it is left out; else -1. */
  #readLinkReference(from: Cursor, flags: number): number {
    if (this.#form.protocol < 30 || !(flags & ENTRY_FLAG.hardLinked) || flags & ENTRY_FLAG.firstOfHardLink) return -1;
    if (!this.#form.hardLinks)
      throw new RsyncProtocolError("rsync protocol: a hard link, although none were asked for");
    const first = from.varint();
    if (first < 0 || first >= this.list.count) {
      throw new RsyncProtocolError(`rsync protocol: a hard link to file ${first}, which is not there`);
    }
    if (this.list.linkGroup.get(first) === 0) {
      throw new RsyncProtocolError(`rsync protocol: a hard link to file ${first}, which has none`);
    }
    return first;
  }

  /** A further name of a file: all but the name is that of the first. */
  #addAbbreviated(from: Cursor, first: number, shared: number, length: number): void {
    const { list } = this;
    const file = list.file(first);
    const attributes = this.#readAttributes(from, file.mode);
    const entry = this.#add(shared, length, file);
    list.linkGroup.set(entry, list.linkGroup.get(first));
    if (isSymlink(file.mode)) list.setTarget(entry, list.target(first));
    if (isDevice(file.mode)) {
      const { major, minor } = list.device(first);
      this.#deviceMajor = major;
      list.setDevice(entry, major, minor);
    }
    if (list.checksum.get(first) !== 0) list.checksum.set(entry, list.checksum.get(first));
    this.#keepAttributes(entry, attributes);
  }

  #readId(from: Cursor, isSent: boolean, nameFollows: number, previous: number): number {
    if (!isSent) return previous;
    if (this.#form.protocol < 30) return from.uint32();
    const id = from.varint() >>> 0;
    // Only with incremental recursion, which we never agree to.
    if (nameFollows) throw new RsyncProtocolError("rsync protocol: a name of a user or group where none may be");
    return id;
  }

  #readDevice(
    from: Cursor,
    flags: number,
    mode: number,
  ): { readonly major: number; readonly minor: number } | undefined {
    const form = this.#form;
    const sent = (form.devices && isDevice(mode)) || (form.specials && isSpecial(mode) && form.protocol < 31);
    if (!sent) return undefined;
    const is30 = form.protocol >= 30;
    const major = flags & ENTRY_FLAG.sameDeviceMajor ? this.#deviceMajor : is30 ? from.varint() : from.int32();
    const minor = is30 ? from.varint() : flags & ENTRY_FLAG.minorIsByte ? from.byte() : from.int32();
    return { major: major >>> 0, minor: minor >>> 0 };
  }

  /** Before protocol 30 hard links are known by device and inode. */
  #readInode(
    from: Cursor,
    flags: number,
    mode: number,
  ): { readonly device: number; readonly inode: number } | undefined {
    const form = this.#form;
    if (form.protocol >= 30 || !form.hardLinks || !(flags & ENTRY_FLAG.hardLinked) || isDirectory(mode))
      return undefined;
    const device = flags & ENTRY_FLAG.sameDevice ? this.#linkDevice : from.longInt();
    return { device, inode: from.longInt() };
  }

  #join(entry: number, key: string): void {
    const first = this.#linkGroups.get(key);
    if (first === undefined) this.#linkGroups.set(key, entry);
    this.list.linkGroup.set(entry, (first ?? entry) + 1);
  }

  #readAttributes(from: Cursor, mode: number): ReadAttributes {
    const acls = this.#form.acls && !isSymlink(mode) ? readFileAcls(from, this.acls, mode) : undefined;
    const xattrs = this.#form.xattrs ? readAttributes(from, this.xattrs.sets.length) : undefined;
    return { acls, xattrs };
  }

  #keepAttributes(entry: number, { acls, xattrs }: ReadAttributes): void {
    const { list } = this;
    if (acls !== undefined) {
      list.accessAcl.set(entry, this.#keepAcl(this.acls.access, acls.access) + 1);
      if (acls.default !== undefined) list.defaultAcl.set(entry, this.#keepAcl(this.acls.default, acls.default) + 1);
    }
    if (xattrs !== undefined) {
      list.xattrs.set(entry, (typeof xattrs === "number" ? xattrs : this.xattrs.add(xattrs)) + 1);
    }
  }

  #keepAcl(kept: WireAcl[], acl: WireAcl | number): number {
    if (typeof acl !== "number") this.#aclBytes += ACL_BYTES + ACL_ENTRY_BYTES * acl.named.length;
    if (this.#aclBytes > MOST_ACL_BYTES) throw new RsyncProtocolError("the other side lists too many different ACLs");
    return keepAcl(kept, acl);
  }

  #add(shared: number, length: number, file: ListedFile): number {
    const { list } = this;
    const path = this.#path;
    const known = shared >= this.#place.nameStart ? this.#place : undefined;
    const place = placeInTree(list, path, length, this.#form.relative, known);
    this.#pathLength = length;
    this.#place = place;
    this.#file = file;
    const entry = list.add(place.parent, path, place.nameStart, length, file);
    const isTop = length - place.nameStart === 1 && path[place.nameStart] === DOT;
    if (isTop && !isDirectory(file.mode)) {
      throw new RsyncProtocolError("rsync protocol: the top of the list is not a directory");
    }
    if (isDirectory(file.mode)) {
      const directory = isTop ? place.parent : list.directory(place.parent, path, place.nameStart, length);
      list.setDirectory(entry, directory);
    }
    return entry;
  }
}

const DOT = 0x2e;

function readMode(from: Cursor): number {
  const mode = from.int32();
  const type = mode & MODE.typeMask;
  if ((mode & ~0o177777) !== 0 || !KNOWN_TYPES.has(type)) {
    throw new RsyncProtocolError(`rsync protocol: a file's mode is 0${(mode >>> 0).toString(8)}, which is no file's`);
  }
  return mode;
}

const KNOWN_TYPES = new Set<number>([
  MODE.file,
  MODE.directory,
  MODE.symlink,
  MODE.block,
  MODE.character,
  MODE.fifo,
  MODE.socket,
]);

function readTarget(from: Cursor, is30: boolean): Buffer {
  const length = is30 ? from.varint() : from.int32();
  if (length < 0 || length >= PATH_BYTES) throw new RsyncProtocolError("rsync protocol: a link's target is too long");
  return from.view(length);
}
