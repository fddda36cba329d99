import { ALWAYS_READ_SECONDS } from "../source.ts";
import { Column } from "./protocol/columns.ts";
import type { PartOfFileList } from "./protocol/file-list-decoder.ts";
import { MODE, isDirectory } from "./protocol/file-list.ts";
import type { ListedFile } from "./protocol/file-list.ts";

export interface Fingerprint {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/**
 * rsync tells no ctime. In its place stands a fingerprint of what it tells beside size and modification time: owner, mode,
 * ACL, attributes, target.
 */
export function fingerprinter(
  part: PartOfFileList,
  listedMs: number,
): (entry: number, file: ListedFile) => Fingerprint {
  const { list } = part;
  const attributes = attributeHashes(part, FACTOR);
  return (entry, file) => {
    if (isRacy(file, listedMs)) return NEVER_THE_SAME;
    if (entry < 0) return NOTHING;
    let hash = mix(mix(mix(SEED, file.mode), file.uid), file.gid);
    hash = mix(hash, attributes.access(list.accessAcl.get(entry) - 1));
    hash = mix(hash, attributes.default(list.defaultAcl.get(entry) - 1));
    hash = mix(hash, attributes.xattrs(list.xattrs.get(entry) - 1));
    const type = file.mode & MODE.typeMask;
    if (type === MODE.symlink) hash = mix(hash, hashText(list.target(entry).latin1Slice(), FACTOR));
    if (type === MODE.block || type === MODE.character) {
      const { major, minor } = list.device(entry);
      hash = mix(mix(hash, major), minor);
    }
    // A time long past, so that it is never taken for one that could come again.
    return { seconds: hash & 0x3fffffff, nanoseconds: mix(hash, file.mode ^ file.uid) % 1_000_000_000 };
  };
}

const NOTHING: Fingerprint = { seconds: 0, nanoseconds: 0 };
/** Such a time is never trusted, so the file is looked at again next time. */
const NEVER_THE_SAME: Fingerprint = { seconds: ALWAYS_READ_SECONDS, nanoseconds: 0 };
const RACY_SECONDS_BEFORE = 10;
/** The host's clock may go before ours. */
const RACY_SECONDS_AFTER = 3600;

/** Whether the file may have been changed in the same second after it was listed, without a finer time to show it. */
export function isRacy(file: ListedFile, listedMs: number): boolean {
  if (isDirectory(file.mode) || file.mtimeNanoseconds !== 0) return false;
  const age = listedMs / 1000 - file.mtimeSeconds;
  return age < RACY_SECONDS_BEFORE && age > -RACY_SECONDS_AFTER;
}

const SEED = 0x243f6a88;
/** Of FNV-1a. */
const FACTOR = 0x01000193;

/** Mixes a number of 32 bits into a hash of 32 bits. */
export function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}

/** 32 bits of a text, in a way that `factor` chooses. */
export function hashText(text: string, factor: number): number {
  let hash = SEED;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), factor);
  return hash >>> 0;
}

/** Hashes of what the numbers of ACLs and sets of attributes in a list stand for; 0 for a negative number. */
export interface AttributeHashes {
  readonly access: (number: number) => number;
  readonly default: (number: number) => number;
  readonly xattrs: (number: number) => number;
}

export function attributeHashes({ acls, xattrs }: PartOfFileList, factor: number): AttributeHashes {
  return {
    access: remembered(factor, (number) => JSON.stringify(acls.access[number])),
    default: remembered(factor, (number) => JSON.stringify(acls.default[number])),
    xattrs: remembered(factor, (number) =>
      xattrs.sets[number]
        .map(({ name, lengthBytes, listed }) => `${name} ${lengthBytes} ${listed.toString("hex")}`)
        .join("\n"),
    ),
  };
}

function remembered(factor: number, textOf: (number: number) => string): (number: number) => number {
  const hashes = new Column("f64");
  return (number) => {
    if (number < 0) return 0;
    let hash = hashes.get(number);
    if (hash === 0) {
      hash = hashText(textOf(number), factor) + 1;
      hashes.set(number, hash);
    }
    return hash;
  };
}
