import { createHash } from "node:crypto";
import { MAXIMUM_NAME_BYTES, type ExtendedAttribute, type Hole, type TreeEntry } from "../../format/tree.ts";
import type { FileStat, FileType } from "../../platform/file-stat.ts";
import { joinRaw } from "../../platform/raw-path.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { FileUnreadableError } from "../source.ts";
import type { EntryDetails, FileContent, OwnerNames, ReportProblem, SourceEntry } from "../source.ts";
import { aclToXattr } from "./protocol/acl.ts";
import type { Basis } from "./protocol/basis.ts";
import { Column } from "./protocol/columns.ts";
import type { ReceivedFileList } from "./protocol/file-list-decoder.ts";
import { MODE } from "./protocol/file-list.ts";
import type { FileList, ListedFile } from "./protocol/file-list.ts";
import { indexOfStep, walkInOrder } from "./protocol/file-order.ts";
import type { FileOrder, WalkStep } from "./protocol/file-order.ts";
import type { ReceiverSession } from "./protocol/receiver.ts";
import { isAbbreviated } from "./protocol/xattr.ts";
import type { WireAttribute } from "./protocol/xattr.ts";
import { fingerprinter } from "./fingerprint.ts";
import type { FolderDigests } from "./folder-digests.ts";
import { changeFlags, isContentChanged, type ComparedAttributes, type ListedState } from "./listed-changes.ts";
import { comeWithContent, fetchLongAttributes, hasLongAttributes } from "./long-attributes.ts";
import { withoutZeroRuns } from "./sparse-pieces.ts";

/** What makes a source of a list that an rsync has sent, and of the session that gives the contents. */
export interface ListedSourceParts {
  readonly received: ReceivedFileList;
  readonly order: FileOrder;
  readonly session: ReceiverSession;
  readonly onProblem: ReportProblem;
  /** The last version of a file, so that only what has changed in it must travel. */
  readonly previous: ((path: RawPath) => Promise<Basis | undefined> | undefined) | undefined;
  /** When the list began to be made, by our clock. */
  readonly listedMs: number;
  /** Where the other side's user is told what changes. */
  readonly told?: {
    /** The last version of an entry, by its path in the list. */
    readonly previously: (path: RawPath) => Promise<TreeEntry | undefined>;
    readonly compares: ComparedAttributes;
  };
  /** Digests of whole folders. */
  readonly digests?: FolderDigests | undefined;
}

/** An entry that also knows what rsync calls it. */
interface ListedEntry extends SourceEntry {
  /** In the list; its entry is -1 for a folder that is only implied. */
  readonly step: WalkStep;
}

const BATCH_ENTRIES = 256;
/** Smaller files are not searched for holes. */
const SMALLEST_SPARSE_BYTES = 1024 * 1024;

export interface ListedSource {
  readonly tellsNoCtime: true;
  entries(): AsyncIterable<readonly SourceEntry[]>;
  skip(directory: SourceEntry): void;
  details(entry: SourceEntry): EntryDetails;
  /** `changes`: what the other side may tell its user of it, as `ITEM` bits. */
  content(entry: SourceEntry, changes?: number): FileContent;
  /** Tells the other side's user of a change, as `ITEM` bits, that needs no transfer. */
  tell(entry: SourceEntry, flags: number, otherName?: string): void;
  /** What the list tells of an entry, beside its path. */
  listed(entry: SourceEntry): ListedState;
  /** With --checksum: the sum of the entry's content that came with the list. */
  listedSum(entry: SourceEntry): Uint8Array | undefined;
  readonly owners: OwnerNames;
}

export function listedSource(parts: ListedSourceParts): ListedSource {
  const { received, order, session, previous, onProblem } = parts;
  const { list } = received;
  const top = topOf(list);
  const links = hardLinkGroups(list, order, top);
  const fingerprint = fingerprinter(received, parts.listedMs);
  const attributesComeWithContent = comeWithContent(received);

  function statOf(entry: number, directory: number): FileStat {
    const file = entry < 0 ? IMPLIED_DIRECTORY : list.file(entry);
    return statFrom(file, {
      device: list.mode(entry) !== 0 && entry >= 0 ? deviceOf(list, entry) : NO_DEVICE,
      link: directory >= 0 || entry < 0 ? undefined : links.of(entry),
      fingerprint: fingerprint(entry, file),
    });
  }

  function entryOf(step: WalkStep, path: RawPath, name: RawPath): ListedEntry {
    const { depth, entry, directory } = step;
    const digest = directory < 0 ? undefined : parts.digests?.of(directory);
    const detailsComeWithContent = attributesComeWithContent && directory < 0 && hasLongAttributes(received, entry);
    return { path, name, depth, stat: statOf(entry, directory), digest, detailsComeWithContent, step };
  }

  const toldOf = new Set<number>();
  const { told } = parts;
  const seen = told && {
    previously: told.previously,
    changes: (step: WalkStep, before: TreeEntry | undefined) =>
      changeFlags(stateOf(step, statOf(step.entry, step.directory)), before, told.compares),
    isSent: ({ entry }: WalkStep, before: TreeEntry | undefined) => isContentChanged(statOf(entry, -1), before),
    onTold: ({ entry }: WalkStep) => void toldOf.add(entry),
  };

  /** Directories that are not wanted and have not been left yet. */
  const skipped: number[] = [];

  async function* entries(): AsyncGenerator<readonly SourceEntry[], void, undefined> {
    await fetchLongAttributes({ received, order, session, top: topStep(list, top), seen });
    const empty = "" as RawPath;
    let batch: SourceEntry[] = [entryOf(topStep(list, top), empty, empty)];
    const folders: RawPath[] = ["" as RawPath];
    let skippedDepth = Number.POSITIVE_INFINITY;
    for (const step of walkInOrder(list, order, top, skipped)) {
      if (step.depth > skippedDepth) continue;
      skippedDepth = Number.POSITIVE_INFINITY;
      const name = step.entry < 0 ? list.directoryName(step.directory) : list.name(step.entry);
      const path = joinRaw(folders[step.depth - 1], name);
      if (name.length > MAXIMUM_NAME_BYTES) {
        if (step.directory >= 0) skippedDepth = step.depth;
        onProblem({ path, during: "list", error: new Error("its name is longer than 255 bytes") });
        continue;
      }
      if (step.directory >= 0) folders[step.depth] = path;
      batch.push(entryOf(step, path, name));
      if (batch.length < BATCH_ENTRIES) continue;
      yield batch;
      batch = [];
    }
    yield batch;
  }

  function details(entry: SourceEntry): EntryDetails {
    const { step, stat } = entry as ListedEntry;
    const number = step.entry;
    if (number < 0) return { xattrs: [], target: undefined };
    return { xattrs: attributesOf(received, session, number, entry.path, onProblem), target: targetOf(number, stat) };
  }

  function targetOf(entry: number, { type }: FileStat): RawPath | undefined {
    return type === "symlink" ? (list.target(entry).latin1Slice() as RawPath) : undefined;
  }

  function tell(entry: SourceEntry, flags: number, otherName?: string): void {
    const { step } = entry as ListedEntry;
    if (step.entry >= 0 && !toldOf.has(step.entry))
      session.tell({ index: indexOfStep(order, step), entry: step.entry, flags, otherName });
  }

  function listed(entry: SourceEntry): ListedState {
    const { step, stat } = entry as ListedEntry;
    return stateOf(step, stat);
  }

  function stateOf({ entry: number }: WalkStep, stat: FileStat): ListedState {
    if (number < 0) return { stat, target: undefined, acls: [], xattrs: [] };
    const set = list.xattrs.get(number) - 1;
    const xattrs = set < 0 ? [] : received.xattrs.sets[set];
    return { stat, target: targetOf(number, stat), acls: aclsOf(received, number), xattrs };
  }

  function content(entry: SourceEntry, changes?: number): FileContent {
    const { step, path, stat } = entry as ListedEntry;
    const number = step.entry;
    if (number < 0 || stat.type !== "file") throw new FileUnreadableError(`${path} is no file`);
    if (stat.sizeBytes === 0 && changes === undefined && !hasLongAttributes(received, number))
      return { kind: "stream", pieces: nothing, whole: () => new Uint8Array(0) };
    const transfer = session.request({ index: indexOfStep(order, step), entry: number, path, changes, previous });
    if (stat.sizeBytes < SMALLEST_SPARSE_BYTES) return transfer;
    const holes: Hole[] = [];
    return { kind: "stream", holes, pieces: () => withoutZeroRuns(transfer.pieces(), holes) };
  }

  function listedSum(entry: SourceEntry): Uint8Array | undefined {
    const { entry: number } = (entry as ListedEntry).step;
    const place = number < 0 ? 0 : list.checksum.get(number);
    return place === 0 ? undefined : Uint8Array.from(list.store.get(place));
  }

  const owners: OwnerNames = {
    user: (uid) => received.users.get(uid) ?? "",
    group: (gid) => received.groups.get(gid) ?? "",
  };
  const skip = (entry: SourceEntry): void => void skipped.push((entry as ListedEntry).step.directory);
  return { tellsNoCtime: true, entries, skip, details, content, tell, listed, listedSum, owners };
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {
  // An empty file.
}

const TYPES = new Map<number, FileType>([
  [MODE.file, "file"],
  [MODE.directory, "directory"],
  [MODE.symlink, "symlink"],
  [MODE.fifo, "fifo"],
  [MODE.socket, "socket"],
  [MODE.character, "char"],
  [MODE.block, "block"],
]);

/** What a folder is taken for that nothing is known of but what lies in it. */
const IMPLIED_DIRECTORY: ListedFile = {
  mode: MODE.directory | 0o755,
  sizeBytes: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  uid: 0,
  gid: 0,
};

const NO_DEVICE = { major: 0, minor: 0 };

function deviceOf(list: FileList, entry: number): { readonly major: number; readonly minor: number } {
  const type = list.mode(entry) & MODE.typeMask;
  return type === MODE.block || type === MODE.character ? list.device(entry) : NO_DEVICE;
}

interface StatExtras {
  readonly device: { readonly major: number; readonly minor: number };
  readonly link: { readonly names: number; readonly high: number; readonly low: number } | undefined;
  readonly fingerprint: { readonly seconds: number; readonly nanoseconds: number };
}

/**
 * rsync tells neither inode nor ctime. In place of the ctime stands a fingerprint of what else it tells (owner, mode,
 * ACL, attributes, target), so that a change of it shows; in place of the inode, for hard links, one of the first path.
 */
function statFrom(file: ListedFile, { device, link, fingerprint }: StatExtras): FileStat {
  const type = TYPES.get(file.mode & MODE.typeMask) ?? "file";
  return {
    type,
    mode: file.mode & 0o7777,
    uid: file.uid,
    gid: file.gid,
    sizeBytes: file.sizeBytes,
    mtimeSeconds: file.mtimeSeconds,
    mtimeNanoseconds: file.mtimeNanoseconds,
    ctimeSeconds: fingerprint.seconds,
    ctimeNanoseconds: fingerprint.nanoseconds,
    inodeHigh: link?.high ?? 0,
    inodeLow: link?.low ?? 0,
    links: link?.names ?? 1,
    allocatedBytes: file.sizeBytes,
    deviceMajor: 0,
    deviceMinor: 0,
    rdevMajor: device.major,
    rdevMinor: device.minor,
    inodeFlags: 0,
  };
}

function topStep(list: FileList, top: number): WalkStep {
  return { entry: list.entryOfDirectory(top), directory: top, parent: top, at: -1, depth: 0 };
}

/** The directory that stands for `/`: where paths are absolute, it is a folder without a name in the top. */
function topOf(list: FileList): number {
  const root = list.absoluteTop();
  return root ?? 0;
}

// ---- hard links

interface HardLinkGroups {
  readonly of: (entry: number) => { readonly names: number; readonly high: number; readonly low: number } | undefined;
}

function hardLinkGroups(list: FileList, order: FileOrder, top: number): HardLinkGroups {
  if (list.linkGroup.isEmpty) return { of: () => undefined };
  const names = new Column("u32");
  for (let entry = 0; entry < list.count; entry++) {
    const group = list.linkGroup.get(entry);
    if (group !== 0) names.set(group, names.get(group) + 1);
  }
  const high = new Column("u32");
  const low = new Column("u32");
  for (const step of walkInOrder(list, order, top)) {
    const group = step.entry < 0 ? 0 : list.linkGroup.get(step.entry);
    if (group === 0 || low.get(group) !== 0) continue;
    const path = `${list.directoryPath(step.parent)}/${list.name(step.entry)}`;
    const hash = createHash("sha1").update(path, "latin1").digest();
    high.set(group, hash.readUInt32LE(0));
    low.set(group, hash.readUInt32LE(4) | 1);
  }
  return {
    of: (entry) => {
      const group = list.linkGroup.get(entry);
      if (group === 0 || names.get(group) < 2) return undefined;
      return { names: names.get(group), high: high.get(group), low: low.get(group) };
    },
  };
}

// ---- extended attributes

function attributesOf(
  received: ReceivedFileList,
  session: ReceiverSession,
  entry: number,
  path: RawPath,
  onProblem: ReportProblem,
): readonly ExtendedAttribute[] {
  const { list, xattrs } = received;
  const acls = aclsOf(received, entry);
  const set = list.xattrs.get(entry) - 1;
  if (set < 0) return acls;
  const all = [...acls];
  for (const attribute of xattrs.sets[set]) {
    const value = valueOf(session, set, attribute);
    if (value !== undefined) all.push({ name: attribute.name, value });
    else onProblem({ path, during: "read extended attributes", error: new Error(`${attribute.name} was not sent`) });
  }
  return all.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** In the order of their names. */
function aclsOf({ list, acls }: ReceivedFileList, entry: number): readonly ExtendedAttribute[] {
  const mode = list.mode(entry);
  const access = list.accessAcl.get(entry) - 1;
  const accessValue = access < 0 ? undefined : aclToXattr(acls.access[access], mode, false);
  const byDefault = list.defaultAcl.get(entry) - 1;
  const defaultValue = byDefault < 0 ? undefined : aclToXattr(acls.default[byDefault], mode, true);
  if (accessValue === undefined && defaultValue === undefined) return NO_ATTRIBUTES;
  const all: ExtendedAttribute[] = [];
  if (accessValue !== undefined) all.push({ name: ACCESS_ACL, value: accessValue });
  if (defaultValue !== undefined) all.push({ name: DEFAULT_ACL, value: defaultValue });
  return all;
}

const NO_ATTRIBUTES: readonly ExtendedAttribute[] = [];
const ACCESS_ACL = "system.posix_acl_access" as RawPath;
const DEFAULT_ACL = "system.posix_acl_default" as RawPath;

function valueOf(session: ReceiverSession, set: number, attribute: WireAttribute): Buffer | undefined {
  return isAbbreviated(attribute) ? session.attributeValue(set, attribute) : attribute.listed;
}
