import type { TreeEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { StrongSums } from "../../source/rsync/protocol/checksums.ts";
import type { OfferedFile } from "../../source/rsync/protocol/file-list-encoder.ts";
import { MODE } from "../../source/rsync/protocol/file-list.ts";
import type { ListedFile } from "../../source/rsync/protocol/file-list.ts";
import type { FilterRules } from "../../source/rsync/protocol/filter-rules.ts";
import { matchesGlob } from "../../source/rsync/protocol/filter-rules.ts";
import { RSYNC_EXIT, RsyncRefusedError } from "../../source/rsync/protocol/rsync-error.ts";
import type { CommandWord, ServerArguments } from "../../source/rsync/protocol/server-arguments.ts";
import type { SnapshotView } from "../snapshot-view.ts";
import type { ShelfNode, ShelfTree } from "./snapshot-shelf.ts";

/** What is to be sent, and under which names. */
export interface Offer {
  readonly files: AsyncIterable<OfferedFile>;
  /** Where on the shelf a file of the list lies, by the path it was listed under. */
  readonly find: (path: RawPath) => Promise<ShelfNode | undefined>;
  /** Names of owners; complete when `files` has ended. */
  readonly users: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, string>;
}

export interface OfferOptions {
  readonly tree: ShelfTree;
  readonly request: ServerArguments;
  /** With --files-from: what is wanted, below the first path. */
  readonly names: AsyncIterable<string> | undefined;
  readonly filters: FilterRules;
  readonly sums: StrongSums;
  readonly warn: (text: string) => void;
  readonly note: (text: string) => void;
}

/** One thing that was asked for, as an rsync reads an argument (rsync(1), "USAGE" and --relative). */
interface WantedAsWritten {
  /** Folder that names are relative to. */
  readonly base: string;
  /** Below it; "" for the folder itself. */
  readonly name: RawPath;
  /** It was written so that the content of a folder is meant, and not the folder. */
  readonly meansContent: boolean;
  /** With --relative: the base itself is listed too, as a folder on the way. */
  readonly withBase: boolean;
}

interface Wanted extends WantedAsWritten {
  /** As the tree has it, without links and `..`. */
  readonly base: RawPath;
}

const MOST_NAMES = 1_000_000;
/** Each character is compared with those of each name. */
const LONGEST_PATTERN = 1024;
/** Each name is looked for in all of them. */
const MOST_BASES = 1000;

export function offerFiles(options: OfferOptions): Offer {
  const { tree, request } = options;
  const users = new Map<number, string>();
  const groups = new Map<number, string>();
  /** Bases in the order of the arguments: a listed path belongs to the first in which it is found. */
  const bases: RawPath[] = [];
  const sent = new Set<string>();
  const resolved = new Map<string, RawPath>();
  /** Marks of hard links tell files of one snapshot apart, and no more: in each it is another file. */
  const linkSpaces = new Map<SnapshotView | undefined, number>();

  async function* files(): AsyncGenerator<OfferedFile, void, undefined> {
    for await (const written of wantedFiles(options)) {
      const wanted = { ...written, base: await resolvedBase(written.base) };
      if (!bases.includes(wanted.base)) bases.push(wanted.base);
      yield* offerOne(wanted);
    }
  }

  async function resolvedBase(base: string): Promise<RawPath> {
    const known = resolved.get(base);
    if (known !== undefined) return known;
    const found = await tree.resolve(base, true);
    if (found === undefined) throw aboveAll(base);
    resolved.set(base, found);
    if (resolved.size > MOST_BASES) {
      throw new RsyncRefusedError("too many folders are named to fetch from", RSYNC_EXIT.usage);
    }
    return found;
  }

  async function* offerOne(wanted: Wanted): AsyncGenerator<OfferedFile, void, undefined> {
    const place = joined(wanted.base, wanted.name);
    const node = await tree.lookup(place);
    if (node === undefined) {
      if (!request.ignoresMissing) options.warn(`link_stat "/${shown(place)}" failed: No such file or directory (2)`);
      return;
    }
    const isFolder = node.entry.type === "directory";
    if (!isFolder && wanted.name === "")
      return options.warn(`change_dir "/${shown(place)}" failed: Not a directory (20)`);
    if (isFolder && !request.recursive && !request.directories) {
      options.note(`skipping directory ${shown(wanted.name === "" ? "." : wanted.name)}`);
      return;
    }
    const listed = (wanted.name === "" ? "." : wanted.name) as RawPath;
    if (request.relative && request.impliedDirectories) yield* offerImplied(wanted);
    if (listed !== "." && options.filters.excludes(listed, isFolder)) return;
    const withContent = isFolder && (request.recursive || wanted.meansContent);
    if (listed.includes("/") && sent.has(listed)) return;
    sent.add(listed);
    yield offered(node, listed, withContent ? "named" : "without-content", await sumOf(node));
    if (withContent) yield* offerBelow(node, listed === "." ? ("" as RawPath) : listed);
  }

  /** The folders on the way, so that they come with their attributes. */
  async function* offerImplied({ base, name, withBase }: Wanted): AsyncGenerator<OfferedFile, void, undefined> {
    const top = "." as RawPath;
    if (withBase && name !== "" && !sent.has(top)) {
      sent.add(top);
      const node = await tree.lookup(base);
      if (node?.entry.type === "directory") yield offered(node, top, "implied", undefined);
    }
    const parts = name.split("/").slice(0, -1);
    for (let length = 1; length <= parts.length; length++) {
      const path = parts.slice(0, length).join("/") as RawPath;
      if (sent.has(path)) continue;
      sent.add(path);
      const node = await tree.lookup(joined(base, path));
      if (node?.entry.type === "directory") yield offered(node, path, "implied", undefined);
    }
  }

  async function* offerBelow(node: ShelfNode, listed: RawPath): AsyncGenerator<OfferedFile, void, undefined> {
    for await (const child of tree.list(node)) {
      const path = joined(listed, child.entry.name);
      const isFolder = child.entry.type === "directory";
      if (options.filters.excludes(path, isFolder)) continue;
      const descends = isFolder && request.recursive;
      yield offered(child, path, descends ? "below" : "without-content", await sumOf(child));
      if (descends) yield* offerBelow(child, path);
    }
  }

  async function sumOf({ entry, view }: ShelfNode): Promise<Uint8Array | undefined> {
    if (!request.checksum || entry.type !== "file" || view === undefined) return undefined;
    const sum = options.sums.startPlainFile();
    for (let at = 0; at < entry.sizeBytes; at += SUM_BYTES) sum.update(await view.read(entry, at, SUM_BYTES));
    return sum.digest();
  }

  function offered(
    node: ShelfNode,
    path: RawPath,
    place: OfferedFile["place"],
    checksum: Uint8Array | undefined,
  ): OfferedFile {
    const { entry, view } = node;
    users.set(entry.uid, entry.user);
    groups.set(entry.gid, entry.group);
    return {
      path,
      file: listedFile(entry),
      target: entry.type === "symlink" ? entry.target : undefined,
      device: entry.type === "char" || entry.type === "block" ? { major: entry.major, minor: entry.minor } : undefined,
      xattrs: entry.xattrs,
      linkKey: entry.hardLink === undefined ? undefined : linkKey(entry.hardLink, view),
      place,
      checksum,
    };
  }

  function linkKey(hardLink: Uint8Array, view: SnapshotView | undefined): string {
    const space = linkSpaces.get(view) ?? linkSpaces.size;
    linkSpaces.set(view, space);
    return `${space} ${Buffer.from(hardLink).latin1Slice()}`;
  }

  async function find(path: RawPath): Promise<ShelfNode | undefined> {
    for (const base of bases) {
      const node = await tree.lookup(joined(base, path));
      if (node !== undefined) return node;
    }
    return undefined;
  }

  return { files: files(), find, users, groups };
}

const SUM_BYTES = 1024 * 1024;

async function* wantedFiles({ tree, request, names }: OfferOptions): AsyncGenerator<WantedAsWritten, void, undefined> {
  const words: readonly CommandWord[] = request.paths.length === 0 ? [{ text: ".", glob: undefined }] : request.paths;
  if (names === undefined) {
    for (const word of words) {
      for (const text of await expand(tree, word)) yield wantedFrom(text, request.relative);
    }
    return;
  }
  let count = 0;
  for await (const name of names) {
    if (++count > MOST_NAMES) throw new RsyncRefusedError("too many names in --files-from", RSYNC_EXIT.usage);
    const wanted = wantedFrom(name, request.relative);
    yield { ...wanted, base: `${words[0].text}/${wanted.base}` };
  }
}

function wantedFrom(name: string, relative: boolean): WantedAsWritten {
  const meansContent = /(?:^|\/)\.{0,2}$/.test(name);
  if (relative) {
    const cut = name.indexOf("/./");
    const base = cut < 0 ? "" : name.slice(0, cut);
    const rest = cut < 0 ? name : name.slice(cut + "/./".length);
    return { base, name: cleaned(rest), meansContent, withBase: rest.startsWith("./") };
  }
  const plain = { meansContent, withBase: false };
  if (meansContent) return { ...plain, base: name, name: "" as RawPath };
  const slash = name.lastIndexOf("/");
  return { ...plain, base: name.slice(0, Math.max(slash, 0)), name: name.slice(slash + 1) as RawPath };
}

function cleaned(path: string): RawPath {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw aboveAll(path);
  return parts.join("/") as RawPath;
}

function aboveAll(path: string): RsyncRefusedError {
  return new RsyncRefusedError(`there is nothing above the list of snapshots: ${shown(path)}`, RSYNC_EXIT.usage);
}

/** What a word stands for: itself, or the names that its wildcards match, as a shell there would have found them. */
async function expand(tree: ShelfTree, { text, glob }: CommandWord): Promise<string[]> {
  if (glob === undefined) return [text];
  let found: string[] = [""];
  const patterns = glob.split("/");
  for (const [i, pattern] of patterns.entries()) {
    const isLast = i === patterns.length - 1;
    const longer: string[] = [];
    for (const folder of found) {
      longer.push(...(await expandOne(tree, folder, pattern, isLast)));
      if (longer.length > MOST_NAMES) throw new RsyncRefusedError("too many names match", RSYNC_EXIT.usage);
    }
    found = longer;
  }
  return found.length === 0 ? [text] : found;
}

async function expandOne(tree: ShelfTree, folder: string, pattern: string, isLast: boolean): Promise<string[]> {
  const end = isLast ? "" : "/";
  const unescaped = pattern.replaceAll(/\\(.)/g, "$1");
  if (!/[*?[]/.test(pattern.replaceAll(/\\./g, ""))) {
    const path = await tree.resolve(folder + unescaped, !isLast);
    const isThere = path !== undefined && (await tree.lookup(path)) !== undefined;
    return isThere ? [folder + unescaped + end] : [];
  }
  if (pattern.length > LONGEST_PATTERN)
    throw new RsyncRefusedError("a name with wildcards is too long", RSYNC_EXIT.usage);
  const resolved = await tree.resolve(folder, true);
  const node = resolved === undefined ? undefined : await tree.lookup(resolved);
  if (node === undefined) return [];
  const names: string[] = [];
  for await (const { entry } of tree.list(node)) {
    if (entry.name.startsWith(".") && !pattern.startsWith(".")) continue;
    if (!isLast && entry.type !== "directory" && entry.name !== "latest") continue;
    if (matchesGlob(pattern, entry.name)) names.push(folder + entry.name + end);
  }
  return names;
}

function joined(folder: RawPath, name: RawPath): RawPath {
  if (folder === "") return name;
  return (name === "" ? folder : `${folder}/${name}`) as RawPath;
}

const shown = (path: string): string => Buffer.from(path, "latin1").toString("utf8");

const TYPE_BITS = {
  file: MODE.file,
  directory: MODE.directory,
  symlink: MODE.symlink,
  fifo: MODE.fifo,
  socket: MODE.socket,
  char: MODE.character,
  block: MODE.block,
} as const;

function listedFile(entry: TreeEntry): ListedFile {
  const sizeBytes = entry.type === "file" ? entry.sizeBytes : entry.type === "symlink" ? entry.target.length : 0;
  return {
    mode: TYPE_BITS[entry.type] | entry.mode,
    sizeBytes,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    uid: entry.uid,
    gid: entry.gid,
  };
}
