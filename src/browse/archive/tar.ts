import { InterruptedError } from "../../errors.ts";
import { INODE_FLAGS } from "../../platform/file-stat.ts";
import { rawPathFromText, type RawPath } from "../../platform/raw-path.ts";
import type { ExtendedAttribute, FileEntry, TreeEntry } from "../../format/tree.ts";
import { dataRanges } from "../file-layout.ts";
import type { SnapshotView } from "../snapshot-view.ts";
import { walk, type WalkedEntry } from "../walk.ts";
import { ACL_RECORDS, aclText } from "./acl-text.ts";
import { BLOCK_BYTES, encodeTarHeader, paddingBytes, type PaxRecord, type TarHeader } from "./tar-header.ts";

export interface ArchiveOptions {
  /** What to archive: an entry and all below it. The whole snapshot, if not given. */
  readonly from?: WalkedEntry;
  /** Is told of what the format has no room for, and is left out. */
  readonly onSkipped?: (path: RawPath, why: string) => void;
  readonly signal?: AbortSignal;
}

// tar reads and writes in units of 20 blocks.
const RECORD_BYTES = 20 * BLOCK_BYTES;
const PIECE_BYTES = 256 * 1024;

/**
 * A tar archive (POSIX pax) of a snapshot with all attributes: times to the nanosecond, ACLs and extended attributes,
 * hard links, holes, names of any bytes. GNU tar unpacks it with `tar -x --xattrs --xattrs-include='*' --acls`; bsdtar
 * too. Sockets have no place in tar. Paths are those in the snapshot, without a slash at the start.
 *
 * Pieces of some hundred KiB, each fresh. Errors: as the view's; the archive then ends in the middle, which no tar takes
 * for a whole one.
 */
export async function* tarArchive(view: SnapshotView, options: ArchiveOptions = {}): AsyncGenerator<Buffer> {
  const output = createBlockBuffer();
  const firstNames = new Map<string, RawPath>();
  for await (const { path, entry } of walk(view, { from: options.from, signal: options.signal })) {
    // The folder that the archive is unpacked in is not the archive's to change.
    if (path === "") continue;
    if (entry.type === "socket") {
      options.onSkipped?.(path, "a tar archive cannot hold a socket");
      continue;
    }
    const linkedTo = firstName(firstNames, path, entry);
    if (linkedTo !== undefined) {
      output.add(encodeTarHeader({ ...commonHeader(path, entry), typeFlag: "1", linkTarget: linkedTo, records: [] }));
    } else if (entry.type === "file") yield* fileMember(view, path, entry, output, options.signal);
    else output.add(encodeTarHeader(otherHeader(path, entry)));
    yield* output.takeIfLarge();
  }
  output.add(Buffer.alloc(2 * BLOCK_BYTES));
  output.padTo(RECORD_BYTES);
  yield* output.takeAll();
}

/** The name under which a hard-linked file is in the archive already; remembers the first. */
function firstName(firstNames: Map<string, RawPath>, path: RawPath, entry: TreeEntry): RawPath | undefined {
  if (entry.hardLink === undefined) return undefined;
  const group = Buffer.from(entry.hardLink).latin1Slice();
  const known = firstNames.get(group);
  if (known === undefined) firstNames.set(group, path);
  return known;
}

async function* fileMember(
  view: SnapshotView,
  path: RawPath,
  file: FileEntry,
  output: BlockBuffer,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const regions = file.holes.length === 0 ? undefined : dataRegions(file);
  const map = regions === undefined ? undefined : sparseMap(regions);
  let sizeBytes = file.sizeBytes;
  if (regions !== undefined && map !== undefined) {
    sizeBytes = map.length;
    for (const region of regions) sizeBytes += region.lengthBytes;
  }
  const header: TarHeader = { ...commonHeader(path, file), typeFlag: "0", sizeBytes };
  output.add(encodeTarHeader(map === undefined ? header : sparseHeader(header, file.sizeBytes)));
  if (map !== undefined) output.add(map);
  for await (const bytes of regions === undefined ? fileBytes(view, file) : regionBytes(view, file, regions)) {
    if (signal?.aborted) throw new InterruptedError("stopped");
    output.add(bytes);
    yield* output.takeIfLarge();
  }
  output.add(Buffer.alloc(paddingBytes(sizeBytes)));
}

async function* fileBytes(view: SnapshotView, file: FileEntry): AsyncGenerator<Uint8Array> {
  for await (const piece of view.pieces(file)) if (piece.kind === "data") yield piece.bytes;
}

interface Region {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** What of a file with holes is in the archive. Regions begin at whole blocks, and all but the last end there. */
function dataRegions(file: FileEntry): Region[] {
  const regions: Region[] = [];
  for (const range of dataRanges(file)) {
    const offset = range.fileOffset - (range.fileOffset % BLOCK_BYTES);
    const end = Math.min(file.sizeBytes, roundUp(range.fileOffset + range.lengthBytes));
    const last = regions.at(-1);
    if (last !== undefined && last.offset + last.lengthBytes >= offset) {
      regions[regions.length - 1] = { offset: last.offset, lengthBytes: end - last.offset };
    } else regions.push({ offset, lengthBytes: end - offset });
  }
  const last = regions.at(-1);
  // An empty region at the end tells the size where a hole is last.
  if (last === undefined || last.offset + last.lengthBytes < file.sizeBytes) {
    regions.push({ offset: file.sizeBytes, lengthBytes: 0 });
  }
  return regions;
}

function roundUp(offset: number): number {
  return offset + paddingBytes(offset);
}

/** GNU tar's sparse format 1.0: the number of regions, then offset and length of each, a line a number. */
function sparseMap(regions: readonly Region[]): Buffer {
  const text = Buffer.from(
    `${regions.length}\n${regions.map(({ offset, lengthBytes }) => `${offset}\n${lengthBytes}\n`).join("")}`,
    "latin1",
  );
  return Buffer.concat([text, Buffer.alloc(paddingBytes(text.length))]);
}

function sparseHeader(header: TarHeader, realSizeBytes: number): TarHeader {
  const slash = header.path.lastIndexOf("/") + 1;
  return {
    ...header,
    // Under this name programs that do not know the format unpack the regions as they are.
    path: `${header.path.slice(0, slash)}GNUSparseFile.0/${header.path.slice(slash)}`,
    records: [
      ...header.records,
      { key: "GNU.sparse.major", value: "1" },
      { key: "GNU.sparse.minor", value: "0" },
      { key: "GNU.sparse.name", value: header.path },
      { key: "GNU.sparse.realsize", value: String(realSizeBytes) },
    ],
  };
}

/** The bytes of these regions, with zeros for what of them lies in holes. */
async function* regionBytes(
  view: SnapshotView,
  file: FileEntry,
  regions: readonly Region[],
): AsyncGenerator<Uint8Array> {
  let current = 0;
  let at = regions[0].offset;
  function* zerosUntil(offset: number): Generator<Uint8Array> {
    for (;;) {
      const { offset: start, lengthBytes } = regions[current];
      const end = start + lengthBytes;
      if (at < Math.min(offset, end)) {
        const until = Math.min(offset, end);
        yield Buffer.alloc(until - at);
        at = until;
      }
      if (offset <= end || current + 1 === regions.length) return;
      current++;
      at = regions[current].offset;
    }
  }
  for await (const piece of view.pieces(file)) {
    if (piece.kind === "hole") continue;
    yield* zerosUntil(piece.offset);
    yield piece.bytes;
    at = piece.offset + piece.bytes.length;
  }
  yield* zerosUntil(file.sizeBytes);
}

function commonHeader(path: RawPath, entry: TreeEntry): TarHeader {
  return {
    path,
    typeFlag: "0",
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    userName: rawPathFromText(entry.user),
    groupName: rawPathFromText(entry.group),
    sizeBytes: 0,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    linkTarget: "",
    deviceMajor: 0,
    deviceMinor: 0,
    records: [...entry.xattrs.map(xattrRecord), ...flagRecords(entry.inodeFlags)],
  };
}

function otherHeader(path: RawPath, entry: Exclude<TreeEntry, FileEntry>): TarHeader {
  const header = commonHeader(path, entry);
  switch (entry.type) {
    case "directory":
      return { ...header, typeFlag: "5", path: `${path}/` };
    case "symlink":
      return { ...header, typeFlag: "2", linkTarget: entry.target };
    case "char":
    case "block":
      return {
        ...header,
        typeFlag: entry.type === "char" ? "3" : "4",
        deviceMajor: entry.major,
        deviceMinor: entry.minor,
      };
    case "fifo":
    case "socket":
      return { ...header, typeFlag: "6" };
  }
}

function xattrRecord({ name, value }: ExtendedAttribute): PaxRecord {
  const aclKey = ACL_RECORDS.get(name);
  const text = aclKey === undefined ? undefined : aclText(value);
  if (aclKey !== undefined && text !== undefined) return { key: aclKey, value: text };
  // A key ends at the first "="; GNU tar writes names that hold one so.
  return { key: `SCHILY.xattr.${name.replaceAll("%", "%25").replaceAll("=", "%3D")}`, value };
}

function flagRecords(inodeFlags: number): PaxRecord[] {
  const names: string[] = [];
  if (inodeFlags & INODE_FLAGS.appendOnly) names.push("sappnd");
  if (inodeFlags & INODE_FLAGS.immutable) names.push("schg");
  if (inodeFlags & INODE_FLAGS.noDump) names.push("nodump");
  return names.length === 0 ? [] : [{ key: "SCHILY.fflags", value: names.join(",") }];
}

/** Joins small blocks into pieces that are worth handing on. */
interface BlockBuffer {
  add(bytes: Uint8Array): void;
  padTo(multiple: number): void;
  takeIfLarge(): Generator<Buffer>;
  takeAll(): Generator<Buffer>;
}

function createBlockBuffer(): BlockBuffer {
  let parts: Uint8Array[] = [];
  let length = 0;
  let total = 0;
  function add(bytes: Uint8Array): void {
    parts.push(bytes);
    length += bytes.length;
    total += bytes.length;
  }
  function* takeAll(): Generator<Buffer> {
    if (length === 0) return;
    yield Buffer.concat(parts, length);
    parts = [];
    length = 0;
  }
  return {
    add,
    padTo: (multiple) => add(Buffer.alloc((multiple - (total % multiple)) % multiple)),
    *takeIfLarge() {
      if (length >= PIECE_BYTES) yield* takeAll();
    },
    takeAll,
  };
}
