import type { DirectoryEntry, SymlinkEntry, TreeEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { SnapshotView } from "../snapshot-view.ts";

/** PORT: the snapshots that somebody who fetches may see. */
export interface SnapshotShelf {
  /** The oldest first. Names are those of folders: dates, such as `2026-11-20T03:00:07`. */
  list(): Promise<readonly ShelvedSnapshot[]>;
}

export interface ShelvedSnapshot {
  readonly name: string;
  readonly timeMs: number;
  open(): Promise<SnapshotView>;
}

/** Names for snapshots by their times, in UTC: to the minute, or as finely as it takes to tell them apart. */
export function datedNames(timesMs: readonly number[]): string[] {
  const atMinute = timesMs.map((timeMs) => new Date(timeMs).toISOString().slice(0, 16));
  const counts = new Map<string, number>();
  for (const name of atMinute) counts.set(name, (counts.get(name) ?? 0) + 1);
  return atMinute.map((name, i) =>
    counts.get(name) === 1 ? name : new Date(timesMs[i]).toISOString().replace("Z", ""),
  );
}

/** Something on the shelf: the shelf itself, a snapshot, or what is in one. */
export interface ShelfNode {
  readonly entry: TreeEntry;
  /** The snapshot that it lies in; undefined for the shelf itself and the link to the latest. */
  readonly view: SnapshotView | undefined;
  /** Path in the snapshot. */
  readonly path: RawPath;
}

/** The shelf as a tree of files: a folder for each snapshot, and a link `latest` to the last. */
export interface ShelfTree {
  readonly top: ShelfNode;
  /** What lies at a path of the shelf; `latest` stands for the last snapshot. Follows no other links. */
  lookup(path: RawPath): Promise<ShelfNode | undefined>;
  list(node: ShelfNode): AsyncIterable<ShelfNode>;
  /**
   * The path without `..` and without the symbolic links on the way, and at its end too if `followsLast`: as the kernel
   * would find it, were each snapshot a root of its own. Undefined where it leads above the list of snapshots.
   */
  resolve(path: string, followsLast: boolean): Promise<RawPath | undefined>;
}

const LATEST = "latest";
/** As Linux has it. */
const MOST_LINKS = 40;

export function openShelfTree(shelf: SnapshotShelf): ShelfTree {
  let listed: Promise<readonly ShelvedSnapshot[]> | undefined;
  const views = new Map<string, Promise<SnapshotView>>();
  const snapshots = (): Promise<readonly ShelvedSnapshot[]> => (listed ??= shelf.list());
  const top: ShelfNode = { entry: madeUpFolder("", 0), view: undefined, path: "" as RawPath };

  async function snapshotNode(snapshot: ShelvedSnapshot): Promise<ShelfNode> {
    let view = views.get(snapshot.name);
    if (view === undefined) views.set(snapshot.name, (view = snapshot.open()));
    const opened = await view;
    return { entry: { ...opened.top, name: snapshot.name as RawPath }, view: opened, path: "" as RawPath };
  }

  async function lookup(path: RawPath): Promise<ShelfNode | undefined> {
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    if (parts.length === 0) return top;
    const all = await snapshots();
    const snapshot = parts[0] === LATEST ? all.at(-1) : snapshotOf(all, parts[0]);
    if (snapshot === undefined) return undefined;
    const node = await snapshotNode(snapshot);
    if (parts.length === 1 || node.view === undefined) return node;
    const below = parts.slice(1).join("/") as RawPath;
    const entry = await node.view.lookup(below);
    return entry === undefined ? undefined : { entry, view: node.view, path: below };
  }

  async function* list(node: ShelfNode): AsyncGenerator<ShelfNode, void, undefined> {
    if (node === top) {
      const all = await snapshots();
      for (const snapshot of all) yield snapshotNode(snapshot);
      const last = all.at(-1);
      if (last !== undefined) yield { entry: latestLink(last), view: undefined, path: LATEST as RawPath };
      return;
    }
    if (node.view === undefined || node.entry.type !== "directory") return;
    for await (const entry of node.view.list(node.entry)) {
      yield { entry, view: node.view, path: (node.path === "" ? entry.name : `${node.path}/${entry.name}`) as RawPath };
    }
  }

  async function resolve(path: string, followsLast: boolean): Promise<RawPath | undefined> {
    const left = path.split("/").reverse();
    /** How many parts of `left`, from its start, were written by the user, and not in a link. */
    let written = left.length;
    const found: string[] = [];
    let links = 0;
    while (left.length > 0) {
      const part = left.pop() ?? "";
      const isOfLink = left.length >= written;
      written = Math.min(written, left.length);
      if (part === "" || part === ".") continue;
      if (part === "..") {
        if (found.length === 0) return undefined;
        // Nothing that lies in a snapshot leads out of it.
        if (!isOfLink || found.length > 1) found.pop();
        continue;
      }
      found.push(part);
      if (found.length === 1 || (left.length === 0 && !followsLast)) continue;
      const node = await lookup(found.join("/") as RawPath);
      if (node?.entry.type !== "symlink" || links++ === MOST_LINKS) continue;
      const { target } = node.entry;
      found.length = target.startsWith("/") ? 1 : found.length - 1;
      left.push(...target.split("/").reverse());
    }
    return found.join("/") as RawPath;
  }

  return { top, lookup, list, resolve };
}

const DATE = /^(\d{4}(?:-\d\d){1,2})(?:[Tt_ ](\d\d)(?::?(\d\d)(?::?(\d\d(?:\.\d{1,3})?))?)?)?[Zz]?$/;

/** The snapshot of that name, or else the last one of that month, day, hour, minute or second, in UTC. */
function snapshotOf(all: readonly ShelvedSnapshot[], name: string): ShelvedSnapshot | undefined {
  const named = all.find((snapshot) => snapshot.name === name);
  const parts = named === undefined ? DATE.exec(name) : null;
  if (parts === null) return named;
  const [, date, hour, minute, second] = parts;
  const time = [hour, minute, second].filter((part) => part !== undefined).join(":");
  const start = time === "" ? date : `${date}T${time}`;
  return all.findLast(({ timeMs }) => new Date(timeMs).toISOString().startsWith(start));
}

function madeUpFolder(name: string, timeMs: number): DirectoryEntry {
  return { ...madeUpAttributes(name, timeMs), type: "directory", mode: 0o755, tree: new Uint8Array(32) };
}

function latestLink(snapshot: ShelvedSnapshot): SymlinkEntry {
  return {
    ...madeUpAttributes(LATEST, snapshot.timeMs),
    type: "symlink",
    mode: 0o777,
    target: snapshot.name as RawPath,
  };
}

function madeUpAttributes(name: string, timeMs: number) {
  return {
    name: name as RawPath,
    uid: 0,
    gid: 0,
    user: "root",
    group: "root",
    mtimeSeconds: Math.floor(timeMs / 1000),
    mtimeNanoseconds: 0,
    inodeFlags: 0,
    xattrs: [],
    hardLink: undefined,
  };
}
