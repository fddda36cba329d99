import type { RawPath } from "../../../platform/raw-path.ts";
import type { ExtendedAttribute } from "../../../format/tree.ts";
import { NO_DEFAULT_ACL, aclFromXattr, plainAcl, writeAcl } from "./acl.ts";
import type { WireAcl } from "./acl.ts";
import type { ByteOutput } from "./byte-output.ts";
import { attributeSum } from "./checksums.ts";
import { ENTRY_FLAG } from "./file-list-decoder.ts";
import type { FileListForm } from "./file-list-decoder.ts";
import { FileList, isDevice, isDirectory, isRegular, isSpecial, isSymlink, placeInTree } from "./file-list.ts";
import type { ListedFile, PlaceInTree } from "./file-list.ts";
import { LONGEST_LISTED_VALUE_BYTES, writeAttributes } from "./xattr.ts";
import type { WireAttribute } from "./xattr.ts";

/** A file that is offered to a receiver. */
export interface OfferedFile {
  /** As the receiver is to see it: relative, or absolute with --relative; `.` for the top. */
  readonly path: RawPath;
  readonly file: ListedFile;
  /** Of a symbolic link. */
  readonly target: RawPath | undefined;
  /** Of a device. */
  readonly device: { readonly major: number; readonly minor: number } | undefined;
  /** All of them, with ACLs among them in the kernel's form. */
  readonly xattrs: readonly ExtendedAttribute[];
  /** Equal for all names of one file. */
  readonly linkKey: string | undefined;
  /** What a directory is in the transfer: whether it was named, and whether all that is in it is sent. */
  readonly place: "named" | "below" | "implied" | "without-content";
  /** With --checksum: the sum of a file's content. */
  readonly checksum: Uint8Array | undefined;
}

export const ACCESS_ACL = "system.posix_acl_access";
export const DEFAULT_ACL = "system.posix_acl_default";
/** Beside ACLs there is nothing in this namespace that could be written. */
const SYSTEM_NAMESPACE = "system.";
/** The longest of an rsync's paths, with its final NUL. */
const PATH_BYTES = 4096;
const LONGEST_SHARED_BYTES = 255;

/** Writes a list of files, and keeps what numbers its entries. */
export class FileListEncoder {
  readonly list = new FileList();
  readonly #form: FileListForm;
  #path = Buffer.alloc(0);
  #place: PlaceInTree = { parent: 0, nameStart: 0 };
  #previous: ListedFile = { mode: 0, sizeBytes: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, uid: 0, gid: 0 };
  #hasPrevious = false;
  #linkDevice: number | undefined;
  readonly #links = new Map<string, number>();
  readonly #aclNumbers = new Map<string, number>();
  readonly #defaultAclNumbers = new Map<string, number>();
  readonly #xattrNumbers = new Map<string, number>();
  /** Sets of attributes as they were sent, to understand what is asked for. */
  readonly xattrSets: (readonly WireAttribute[])[] = [];

  constructor(form: FileListForm) {
    this.#form = form;
  }

  /** Writes one entry. False where its path is too long for an rsync: then nothing is written. */
  write(to: ByteOutput, offered: OfferedFile): boolean {
    const path = Buffer.from(offered.path, "latin1");
    if (path.length >= PATH_BYTES) return false;
    const entry = this.#add(path, offered);
    const { file } = offered;
    const first = this.#firstName(entry, offered);
    let flags = this.#flags(offered, first);
    const shared = this.#sharedLength(path);
    if (shared > 0) flags |= ENTRY_FLAG.sameName;
    const rest = path.length - shared;
    if (rest > 255) flags |= ENTRY_FLAG.longName;
    this.#writeFlags(to, flags, isDirectory(file.mode));
    if (shared > 0) to.byte(shared);
    if (rest <= 255) to.byte(rest);
    else if (this.#form.protocol >= 30) to.varint(rest);
    else to.int32(rest);
    to.raw(path.subarray(shared));
    this.#path = path;
    if (first !== undefined && this.#form.protocol >= 30) to.varint(first);
    else this.#writeBody(to, offered, flags);
    this.#previous = file;
    this.#hasPrevious = true;
    this.#writeAttributes(to, entry, offered);
    return true;
  }

  /**
   * The end of the list; the names of owners and, before protocol 30, the errors follow it. `ioErrors` are `IO_ERROR` bits
   * (flist.c, write_end_of_flist).
   */
  writeEnd(
    to: ByteOutput,
    users: ReadonlyMap<number, string>,
    groups: ReadonlyMap<number, string>,
    ioErrors: number,
  ): void {
    const form = this.#form;
    if (form.varintFlags) {
      to.varint(0);
      to.varint(ioErrors);
    } else if (form.safeFileList && ioErrors !== 0) {
      to.shortInt(ENTRY_FLAG.extended | ENTRY_FLAG.endWithErrors);
      to.varint(ioErrors);
    } else {
      to.byte(0);
    }
    if (!form.numericIds) {
      if (form.owners || form.acls) writeNames(to, form, users);
      if (form.groups || form.acls) writeNames(to, form, groups);
    }
    if (form.protocol < 30) to.int32(ioErrors);
  }

  #add(path: Buffer, { file }: OfferedFile): number {
    const place = placeInTree(this.list, path, path.length, this.#form.relative);
    this.#place = place;
    const entry = this.list.add(place.parent, path, place.nameStart, path.length, file);
    if (isDirectory(file.mode)) {
      const isTop = path.length - place.nameStart === 1 && path[place.nameStart] === DOT;
      const directory = isTop
        ? place.parent
        : this.list.directory(place.parent, path, this.#place.nameStart, path.length);
      this.list.setDirectory(entry, directory);
    }
    return entry;
  }

  /** The entry under which the file was listed first, where this is a further name of it. */
  #firstName(entry: number, { linkKey, file }: OfferedFile): number | undefined {
    if (!this.#form.hardLinks || linkKey === undefined || isDirectory(file.mode)) return undefined;
    const first = this.#links.get(linkKey);
    if (first === undefined) this.#links.set(linkKey, entry);
    return first;
  }

  #flags({ file, place, linkKey }: OfferedFile, first: number | undefined): number {
    const form = this.#form;
    const before = this.#previous;
    let flags = isDirectory(file.mode) ? directoryFlags(place, form.protocol) : 0;
    if (file.mode === before.mode) flags |= ENTRY_FLAG.sameMode;
    if (!form.owners || (this.#hasPrevious && file.uid === before.uid)) flags |= ENTRY_FLAG.sameUid;
    if (!form.groups || (this.#hasPrevious && file.gid === before.gid)) flags |= ENTRY_FLAG.sameGid;
    if (file.mtimeSeconds === before.mtimeSeconds) flags |= ENTRY_FLAG.sameTime;
    if (file.mtimeNanoseconds !== 0 && form.protocol >= 31) flags |= ENTRY_FLAG.nanoseconds;
    if (form.hardLinks && linkKey !== undefined && !isDirectory(file.mode)) {
      flags |= ENTRY_FLAG.hardLinked;
      if (form.protocol >= 30 && first === undefined) flags |= ENTRY_FLAG.firstOfHardLink;
      if (form.protocol < 30 && this.#linkDevice === LINK_DEVICE) flags |= ENTRY_FLAG.sameDevice;
    }
    return flags;
  }

  #sharedLength(path: Buffer): number {
    const longest = Math.min(path.length, this.#path.length, LONGEST_SHARED_BYTES);
    let shared = 0;
    while (shared < longest && path[shared] === this.#path[shared]) shared++;
    return shared;
  }

  #writeFlags(to: ByteOutput, flags: number, isOfDirectory: boolean): void {
    // A flag of 0 would end the list. Which bit stands in for it means nothing where it is used.
    if (this.#form.varintFlags) return to.varint(flags === 0 ? ENTRY_FLAG.extended : flags);
    const sent = flags === 0 && !isOfDirectory ? ENTRY_FLAG.topDirectory : flags;
    if ((sent & 0xff00) !== 0 || sent === 0) to.shortInt(sent | ENTRY_FLAG.extended);
    else to.byte(sent);
  }

  #writeBody(to: ByteOutput, { file, target, device, linkKey, checksum }: OfferedFile, flags: number): void {
    const form = this.#form;
    const is30 = form.protocol >= 30;
    if (is30) to.varlong(file.sizeBytes, 3);
    else to.longInt(file.sizeBytes);
    if (!(flags & ENTRY_FLAG.sameTime)) {
      if (is30) to.varlong(file.mtimeSeconds, 4);
      else to.int32(file.mtimeSeconds % 2 ** 32);
    }
    if (flags & ENTRY_FLAG.nanoseconds) to.varint(file.mtimeNanoseconds);
    if (form.creationTimes) to.varlong(file.mtimeSeconds, 4);
    if (!(flags & ENTRY_FLAG.sameMode)) to.int32(file.mode);
    if (form.accessTimes && !isDirectory(file.mode)) to.varlong(file.mtimeSeconds, 4);
    if (form.owners && !(flags & ENTRY_FLAG.sameUid)) writeId(to, file.uid, is30);
    if (form.groups && !(flags & ENTRY_FLAG.sameGid)) writeId(to, file.gid, is30);
    this.#writeDevice(to, file, device, is30);
    if (form.symlinks && isSymlink(file.mode)) {
      const bytes = Buffer.from(target ?? "", "latin1");
      if (is30) to.varint(bytes.length);
      else to.int32(bytes.length);
      to.raw(bytes);
    }
    if (!is30 && flags & ENTRY_FLAG.hardLinked && linkKey !== undefined) {
      if (!(flags & ENTRY_FLAG.sameDevice)) to.longInt(LINK_DEVICE);
      this.#linkDevice = LINK_DEVICE;
      to.longInt((this.#links.get(linkKey) ?? 0) + 1);
    }
    if (form.checksumBytes > 0 && isRegular(file.mode)) to.raw(checksum ?? new Uint8Array(form.checksumBytes));
  }

  #writeDevice(to: ByteOutput, file: ListedFile, device: OfferedFile["device"], is30: boolean): void {
    const form = this.#form;
    const sends =
      (form.devices && isDevice(file.mode)) || (form.specials && isSpecial(file.mode) && form.protocol < 31);
    if (!sends) return;
    const { major, minor } = isDevice(file.mode) && device !== undefined ? device : { major: 0, minor: 0 };
    if (is30) {
      to.varint(major | 0);
      to.varint(minor | 0);
    } else {
      to.int32(major);
      to.int32(minor);
    }
  }

  #writeAttributes(to: ByteOutput, entry: number, { file, xattrs }: OfferedFile): void {
    const form = this.#form;
    if (form.acls && !isSymlink(file.mode)) {
      writeAcl(to, once(this.#aclNumbers, aclOf(xattrs, file.mode, false)));
      if (isDirectory(file.mode)) writeAcl(to, once(this.#defaultAclNumbers, aclOf(xattrs, file.mode, true)));
    }
    if (form.xattrs) {
      const set = wireAttributes(xattrs);
      const key = set
        .map(({ name, lengthBytes, listed }) => `${name}\0${lengthBytes}\0${listed.toString("latin1")}`)
        .join("\0");
      let number = this.#xattrNumbers.get(key);
      writeAttributes(to, number ?? set);
      if (number === undefined) {
        number = this.xattrSets.push(set) - 1;
        this.#xattrNumbers.set(key, number);
      }
      this.list.xattrs.set(entry, number + 1);
    }
  }
}

const DOT = 0x2e;
/** Before protocol 30 links are known by device and inode; all of ours lie on one device. */
const LINK_DEVICE = 1;

function directoryFlags(place: OfferedFile["place"], protocol: number): number {
  if (protocol < 30) return place === "named" ? ENTRY_FLAG.topDirectory : 0;
  switch (place) {
    case "named":
      return ENTRY_FLAG.topDirectory;
    case "below":
      return 0;
    case "implied":
      return ENTRY_FLAG.topDirectory | ENTRY_FLAG.noContentDirectory;
    case "without-content":
      return ENTRY_FLAG.noContentDirectory;
  }
}

function writeId(to: ByteOutput, id: number, is30: boolean): void {
  if (is30) to.varint(id | 0);
  else to.int32(id);
}

function writeNames(to: ByteOutput, form: FileListForm, names: ReadonlyMap<number, string>): void {
  const write = (id: number, name: string): void => {
    writeId(to, id, form.protocol >= 30);
    const bytes = Buffer.from(name).subarray(0, 255);
    to.byte(bytes.length);
    to.raw(bytes);
  };
  for (const [id, name] of names) if (id !== 0 && name !== "") write(id, name);
  if (form.sendsIdZeroNames) write(0, names.get(0) ?? "");
  else writeId(to, 0, form.protocol >= 30);
}

function aclOf(xattrs: readonly ExtendedAttribute[], mode: number, isDefault: boolean): WireAcl {
  const name = isDefault ? DEFAULT_ACL : ACCESS_ACL;
  const stored = xattrs.find((attribute) => attribute.name === name);
  const acl = stored === undefined ? undefined : aclFromXattr(stored.value, mode, isDefault);
  return acl ?? (isDefault ? NO_DEFAULT_ACL : plainAcl(mode));
}

function once(numbers: Map<string, number>, acl: WireAcl): WireAcl | number {
  const key = JSON.stringify(acl);
  const number = numbers.get(key);
  if (number === undefined) numbers.set(key, numbers.size);
  return number ?? acl;
}

function wireAttributes(xattrs: readonly ExtendedAttribute[]): WireAttribute[] {
  return xattrs
    .filter((attribute) => !attribute.name.startsWith(SYSTEM_NAMESPACE))
    .map(({ name, value }, i) => ({
      name,
      lengthBytes: value.length,
      listed: value.length > LONGEST_LISTED_VALUE_BYTES ? attributeSum(value) : Buffer.from(value),
      number: i + 1,
    }));
}
