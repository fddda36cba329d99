import type { ByteOutput } from "./byte-output.ts";
import type { Cursor } from "./cursor.ts";
import { isDirectory } from "./file-list.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/** A POSIX ACL as an rsync sends it (acls.c): permissions that the file's mode tells already are left out. */
export interface WireAcl {
  /** 0 to 7, or `NOT_SENT`. */
  readonly owner: number;
  readonly group: number;
  readonly mask: number;
  readonly other: number;
  readonly named: readonly NamedEntry[];
}

export interface NamedEntry {
  readonly isUser: boolean;
  readonly id: number;
  readonly permissions: number;
}

export const NOT_SENT = 0x80;

const SENT = { owner: 1, group: 2, mask: 4, other: 8, named: 16 } as const;
const ACCESS_NAME_FOLLOWS = 1;
const ACCESS_IS_USER = 2;
const MOST_NAMED_ENTRIES = 8192;

/** An ACL, or the number (from 0) of one that was sent before; `known` is how many there were. */
export function readAcl(from: Cursor, known: number, isDefault: boolean): WireAcl | number {
  const index = from.varint();
  if (index < 0 || index > known) throw new RsyncProtocolError(`rsync protocol: there is no ACL ${index - 1}`);
  if (index > 0) return index - 1;
  const sent = from.byte();
  const owner = sent & SENT.owner ? readPermissions(from) : NOT_SENT;
  const group = sent & SENT.group ? readPermissions(from) : NOT_SENT;
  let mask = sent & SENT.mask ? readPermissions(from) : NOT_SENT;
  const other = sent & SENT.other ? readPermissions(from) : NOT_SENT;
  const named = sent & SENT.named ? readNamed(from) : [];
  if (isDefault && named.length > 0 && mask === NOT_SENT) {
    mask = named.reduce((all, entry) => all | entry.permissions, group === NOT_SENT ? 0 : group);
  }
  return { owner, group, mask, other, named };
}

function readPermissions(from: Cursor): number {
  return from.boundedVarint(7, "a permission of an ACL");
}

function readNamed(from: Cursor): NamedEntry[] {
  const count = from.boundedVarint(MOST_NAMED_ENTRIES, "the length of an ACL");
  const named: NamedEntry[] = [];
  for (let i = 0; i < count; i++) {
    const id = from.varint() >>> 0;
    const access = from.varint() >>> 0;
    if (access & ACCESS_NAME_FOLLOWS) from.view(from.byte());
    const permissions = access >>> 2;
    if (permissions > 7) throw new RsyncProtocolError(`rsync protocol: a permission of an ACL is ${permissions}`);
    named.push({ isUser: (access & ACCESS_IS_USER) !== 0, id, permissions });
  }
  return named;
}

export function writeAcl(to: ByteOutput, acl: WireAcl | number): void {
  if (typeof acl === "number") return to.varint(acl + 1);
  to.varint(0);
  let sent = acl.named.length > 0 ? SENT.named : 0;
  if (acl.owner !== NOT_SENT) sent |= SENT.owner;
  if (acl.group !== NOT_SENT) sent |= SENT.group;
  if (acl.mask !== NOT_SENT) sent |= SENT.mask;
  if (acl.other !== NOT_SENT) sent |= SENT.other;
  to.byte(sent);
  for (const permissions of [acl.owner, acl.group, acl.mask, acl.other]) {
    if (permissions !== NOT_SENT) to.varint(permissions);
  }
  if (acl.named.length === 0) return;
  to.varint(acl.named.length);
  for (const entry of acl.named) {
    to.varint(entry.id | 0);
    to.varint((entry.permissions << 2) | (entry.isUser ? ACCESS_IS_USER : 0));
  }
}

/** Tags of the kernel's form (linux/posix_acl_xattr.h), in the order in which its entries stand. */
const TAG = { owner: 1, user: 2, group: 4, namedGroup: 8, mask: 16, other: 32 } as const;
const XATTR_VERSION = 2;
const NO_ID = 0xffffffff;
const XATTR_HEADER_BYTES = 4;
const XATTR_ENTRY_BYTES = 8;

/**
 * The value of `system.posix_acl_access` or `system.posix_acl_default` for an ACL, or undefined where it says no more
 * than the mode does.
 */
export function aclToXattr(acl: WireAcl, mode: number, isDefault: boolean): Buffer | undefined {
  if (isDefault && acl.owner === NOT_SENT && acl.group === NOT_SENT && acl.other === NOT_SENT) return undefined;
  if (!isDefault && acl.mask === NOT_SENT && acl.named.length === 0) return undefined;
  return xattrOf(acl, mode, isDefault);
}

function xattrOf(acl: WireAcl, mode: number, isDefault: boolean): Buffer {
  const orOfMode = (permissions: number, shift: number): number =>
    permissions === NOT_SENT ? (isDefault ? 0 : (mode >> shift) & 7) : permissions;
  const byId = (a: NamedEntry, b: NamedEntry): number => a.id - b.id;
  const entries: [tag: number, permissions: number, id: number][] = [[TAG.owner, orOfMode(acl.owner, 6), NO_ID]];
  for (const entry of acl.named.filter((each) => each.isUser).sort(byId)) {
    entries.push([TAG.user, entry.permissions, entry.id]);
  }
  entries.push([TAG.group, orOfMode(acl.group, 3), NO_ID]);
  for (const entry of acl.named.filter((each) => !each.isUser).sort(byId)) {
    entries.push([TAG.namedGroup, entry.permissions, entry.id]);
  }
  // One ACL may be that of several files of different modes: what was not sent is that of each.
  if (acl.mask !== NOT_SENT || acl.named.length > 0) entries.push([TAG.mask, orOfMode(acl.mask, 3), NO_ID]);
  entries.push([TAG.other, orOfMode(acl.other, 0), NO_ID]);
  const value = Buffer.alloc(XATTR_HEADER_BYTES + XATTR_ENTRY_BYTES * entries.length);
  value.writeUInt32LE(XATTR_VERSION, 0);
  entries.forEach(([tag, permissions, id], i) => {
    const at = XATTR_HEADER_BYTES + XATTR_ENTRY_BYTES * i;
    value.writeUInt16LE(tag, at);
    value.writeUInt16LE(permissions, at + 2);
    value.writeUInt32LE(id, at + 4);
  });
  return value;
}

/** The ACL in an attribute's value, as it is to be sent for a file of that mode; undefined if the value makes no sense. */
export function aclFromXattr(value: Uint8Array, mode: number, isDefault: boolean): WireAcl | undefined {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (bytes.length < XATTR_HEADER_BYTES || bytes.readUInt32LE(0) !== XATTR_VERSION) return undefined;
  if ((bytes.length - XATTR_HEADER_BYTES) % XATTR_ENTRY_BYTES !== 0) return undefined;
  const found = { owner: NOT_SENT, group: NOT_SENT, mask: NOT_SENT, other: NOT_SENT } as Record<string, number>;
  const named: NamedEntry[] = [];
  for (let at = XATTR_HEADER_BYTES; at < bytes.length; at += XATTR_ENTRY_BYTES) {
    const tag = bytes.readUInt16LE(at);
    const permissions = bytes.readUInt16LE(at + 2) & 7;
    const id = bytes.readUInt32LE(at + 4);
    if (tag === TAG.owner) found.owner = permissions;
    else if (tag === TAG.group) found.group = permissions;
    else if (tag === TAG.mask) found.mask = permissions;
    else if (tag === TAG.other) found.other = permissions;
    else if (tag === TAG.user || tag === TAG.namedGroup) named.push({ isUser: tag === TAG.user, id, permissions });
  }
  const acl = { owner: found.owner, group: found.group, mask: found.mask, other: found.other, named };
  return isDefault ? acl : withoutWhatModeTells(acl, mode);
}

/** The ACL of a file that has none beside its mode. */
export function plainAcl(mode: number): WireAcl {
  const whole = { owner: (mode >> 6) & 7, group: (mode >> 3) & 7, mask: NOT_SENT, other: mode & 7, named: [] };
  return withoutWhatModeTells(whole, mode);
}

export const NO_DEFAULT_ACL: WireAcl = { owner: NOT_SENT, group: NOT_SENT, mask: NOT_SENT, other: NOT_SENT, named: [] };

function withoutWhatModeTells(acl: WireAcl, mode: number): WireAcl {
  const groupBits = (mode >> 3) & 7;
  const hasMask = acl.mask !== NOT_SENT;
  return {
    owner: NOT_SENT,
    group: !hasMask || acl.group === groupBits ? NOT_SENT : acl.group,
    mask: hasMask && acl.named.length > 0 && acl.mask === groupBits ? NOT_SENT : acl.mask,
    other: NOT_SENT,
    named: acl.named,
  };
}

/** The ACLs of a session: each is sent once and then only named. */
export interface AclCache {
  readonly access: WireAcl[];
  readonly default: WireAcl[];
}

export interface FileAcls {
  readonly access: WireAcl | number;
  readonly default: WireAcl | number | undefined;
}

/** What follows an entry of the list: one ACL, and for a directory that for new files. Changes nothing in `cache`. */
export function readFileAcls(from: Cursor, cache: AclCache, mode: number): FileAcls {
  const access = readAcl(from, cache.access.length, false);
  return { access, default: isDirectory(mode) ? readAcl(from, cache.default.length, true) : undefined };
}

/** Number of an ACL that was read, after it is kept in the session's list if it is new. */
export function keepAcl(acls: WireAcl[], acl: WireAcl | number): number {
  return typeof acl === "number" ? acl : acls.push(acl) - 1;
}
