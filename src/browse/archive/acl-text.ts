import { readU16, readU32, readerOf, remainingBytes } from "../../format/codec.ts";

/** Extended attributes that hold POSIX ACLs, and the pax records in which tar keeps them as text. */
export const ACL_RECORDS: ReadonlyMap<string, string> = new Map([
  ["system.posix_acl_access", "SCHILY.acl.access"],
  ["system.posix_acl_default", "SCHILY.acl.default"],
]);

const TAGS: ReadonlyMap<number, string> = new Map([
  [0x01, "user:"],
  [0x02, "user:"],
  [0x04, "group:"],
  [0x08, "group:"],
  [0x10, "mask:"],
  [0x20, "other:"],
]);
const NAMES_SOMEONE: ReadonlySet<number> = new Set([0x02, 0x08]);

/**
 * An ACL in the kernel's form (u32 version 2, then for each entry u16 tag, u16 rights, u32 id; linux/posix_acl_xattr.h)
 * as the text of acl_to_text(3), with numbers for users and groups. Undefined where it is of another form.
 */
export function aclText(value: Uint8Array): string | undefined {
  if (value.length < 4 || value.length % 8 !== 4) return undefined;
  const input = readerOf(value, "ACL");
  if (readU32(input) !== 2) return undefined;
  const lines: string[] = [];
  while (remainingBytes(input) > 0) {
    const tag = readU16(input);
    const rights = readU16(input);
    const id = readU32(input);
    const who = TAGS.get(tag);
    if (who === undefined) return undefined;
    const letters = (rights & 4 ? "r" : "-") + (rights & 2 ? "w" : "-") + (rights & 1 ? "x" : "-");
    lines.push(`${who}${NAMES_SOMEONE.has(tag) ? id : ""}:${letters}`);
  }
  return lines.join(",");
}
