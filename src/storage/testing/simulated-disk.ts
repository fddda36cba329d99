import type { Disk, DiskFile, DiskStat } from "../disk.ts";
import { seededRandom } from "./random.ts";
import type { SeededRandom } from "./random.ts";

/*
 * A disc in memory that loses power as badly as POSIX allows.
 *
 * What a program sees (the entries of folders, the bytes of files) is kept apart from what is durable. A sync of a file
 * makes its bytes durable, as they were when the sync began; a sync of a folder, its entries. Nothing else is durable:
 * not the entry of a new file in its folder, not the entry of a new folder in the one above.
 *
 * After a power cut, of what was not durable any part may be there: each change of a folder's entries by itself or up
 * to some point in their order; of a file's bytes any length, and in it each sector as written, as zeros or as garbage.
 */

const SECTOR_BYTES = 512;

export type DiskOperation =
  | "create"
  | "open"
  | "moveIfAbsent"
  | "remove"
  | "stat"
  | "list"
  | "makeFolder"
  | "syncFolder"
  | "write"
  | "read"
  | "statFile"
  | "syncFile"
  | "close";

export interface DiskCall {
  readonly operation: DiskOperation;
  readonly path: string;
  /** How many calls this process made before this one. */
  readonly index: number;
  /** How many of this operation it made before this one. */
  readonly indexOfOperation: number;
}

/** What goes wrong with one call of the disc. */
export interface DiskFault {
  /** The call fails with this errno name; or with `POWER`, after which nothing this process does has any effect. */
  readonly errno?: string;
  /** The call does its work before it fails. */
  readonly worksBeforeFailing?: boolean;
  /** A read or write handles no more than so many bytes. */
  readonly atMostBytes?: number;
}

/** Asked at each call what is to go wrong with it. */
export type DiskPlan = (call: DiskCall) => DiskFault | undefined;

export interface SimulatedDisk {
  /** The disc as one process sees it. Several processes may use it, each with its own plan of faults. */
  process(plan?: DiskPlan): Disk & { readonly calls: readonly DiskCall[] };
  /** A disc as it may be found if the power is cut now. Each seed gives another; this one is not changed. */
  crash(seed: number): SimulatedDisk;
}

interface File {
  readonly kind: "file";
  pieces: Buffer[];
  sizeBytes: number;
  durableBytes: number;
  /** After a failed sync: the kernel has forgotten that the bytes are not on the disc, so syncing again is no help. */
  lost: boolean;
  modifiedMs: number;
}

interface Folder {
  readonly kind: "folder";
  entries: Map<string, Node>;
  durable: Map<string, Node>;
  /** Those that are not synced, in order; and how many were before them. */
  changes: Change[];
  changesSynced: number;
  modifiedMs: number;
}

/** A name was given to a node, or taken away (undefined). */
interface Change {
  readonly name: string;
  readonly node: Node | undefined;
}

type Node = File | Folder;

/** An empty disc. `clock` gives times in ms since 1970; `seed` decides how the calls of several tasks interleave. */
export function simulatedDisk(clock: () => number = Date.now, seed = 0): SimulatedDisk {
  return diskAround(newFolder(clock()), clock, seed);
}

/** The plan in which the power fails at one call, counted from 0. */
export function losePowerAt(index: number): DiskPlan {
  return (call) => (call.index >= index ? { errno: "POWER" } : undefined);
}

function newFolder(modifiedMs: number): Folder {
  return { kind: "folder", entries: new Map(), durable: new Map(), changes: [], changesSynced: 0, modifiedMs };
}

function diskAround(top: Folder, clock: () => number, seed: number): SimulatedDisk {
  const schedule = seededRandom(seed);

  function process(plan: DiskPlan = () => undefined): Disk & { readonly calls: readonly DiskCall[] } {
    const calls: DiskCall[] = [];
    const callsOfOperation = new Map<DiskOperation, number>();

    /** Waits as a disc would, and lets other tasks come first. */
    async function pause(): Promise<void> {
      for (let turns = schedule.below(4); turns > 0; turns--) await Promise.resolve();
    }

    async function run<Result>(
      operation: DiskOperation,
      path: string,
      work: (atMostBytes: number) => Result | Promise<Result>,
      onFailure?: () => void,
    ): Promise<Result> {
      const indexOfOperation = callsOfOperation.get(operation) ?? 0;
      callsOfOperation.set(operation, indexOfOperation + 1);
      const call = { operation, path, index: calls.length, indexOfOperation };
      calls.push(call);
      const fault = plan(call) ?? {};
      await pause();
      if (fault.errno !== undefined && !fault.worksBeforeFailing) {
        onFailure?.();
        throw diskFailure(fault.errno, operation, path);
      }
      const result = await work(fault.atMostBytes ?? Infinity);
      if (fault.errno !== undefined) throw diskFailure(fault.errno, operation, path);
      await pause();
      return result;
    }

    function diskFile(file: Node, path: string): DiskFile {
      const asFile = (): File => {
        if (file.kind !== "file") throw diskFailure("EISDIR", "read", path);
        return file;
      };
      return {
        write: (pieces) => run("write", path, (atMost) => append(asFile(), pieces, atMost, clock())),
        read: (into, offset) => run("read", path, (atMost) => readAt(asFile(), into, offset, atMost)),
        stat: () => run("statFile", path, () => statOf(file)),
        sync: () =>
          run(
            "syncFile",
            path,
            async () => {
              const { sizeBytes } = asFile();
              await pause();
              if (!asFile().lost) asFile().durableBytes = Math.max(asFile().durableBytes, sizeBytes);
            },
            () => (asFile().lost = true),
          ),
        close: () => run("close", path, () => undefined),
      };
    }

    const stat = (path: string): Promise<DiskStat | undefined> =>
      run("stat", path, () => {
        const node = nodeAt(path);
        return node && statOf(node);
      });

    return {
      location: "simulated disc",
      calls,
      create: (path) =>
        run("create", path, () => {
          const file: File = {
            kind: "file",
            pieces: [],
            sizeBytes: 0,
            durableBytes: 0,
            lost: false,
            modifiedMs: clock(),
          };
          addEntry(path, file, "create");
          return diskFile(file, path);
        }),
      open: (path) =>
        run("open", path, () => {
          return diskFile(nodeAt(path) ?? fail("ENOENT", "open", path), path);
        }),
      // As two steps, as on a file system where it is link and unlink: the power may fail in between.
      moveIfAbsent: async (from, to) => {
        await run("moveIfAbsent", to, () => {
          addEntry(to, nodeAt(from) ?? fail("ENOENT", "link", from), "link");
        });
        await run("remove", from, () => removeEntry(from));
      },
      remove: (path) => run("remove", path, () => removeEntry(path)),
      stat,
      statAll: (paths) => Promise.all(paths.map(stat)),
      list: (path) =>
        run("list", path, () => [...folderAt(path, "list").entries].map(([name, { kind }]) => ({ name, kind }))),
      makeFolder: (path) => run("makeFolder", path, () => addEntry(path, newFolder(clock()), "mkdir")),
      syncFolder: (path) =>
        run("syncFolder", path, async () => {
          const folder = folderAt(path, "fsync");
          const upTo = folder.changesSynced + folder.changes.length;
          await pause();
          // Another sync of this folder may have ended meanwhile: then there is less to do, or nothing.
          const changes = folder.changes.splice(0, upTo - folder.changesSynced);
          for (const change of changes) applyChange(folder.durable, change);
          folder.changesSynced += changes.length;
        }),
    };
  }

  function nodeAt(path: string): Node | undefined {
    if (path === "") return top;
    const folder = nodeAt(parentOf(path));
    if (folder === undefined) return undefined;
    if (folder.kind !== "folder") throw diskFailure("ENOTDIR", "lookup", path);
    return folder.entries.get(lastPartOf(path));
  }

  function folderAt(path: string, operation: string): Folder {
    const node = nodeAt(path) ?? fail("ENOENT", operation, path);
    return node.kind === "folder" ? node : fail("ENOTDIR", operation, path);
  }

  function addEntry(path: string, node: Node, operation: string): void {
    const folder = folderAt(parentOf(path), operation);
    const name = lastPartOf(path);
    if (folder.entries.has(name)) throw diskFailure("EEXIST", operation, path);
    folder.entries.set(name, node);
    folder.changes.push({ name, node });
  }

  function removeEntry(path: string): void {
    const folder = folderAt(parentOf(path), "unlink");
    const name = lastPartOf(path);
    const node = folder.entries.get(name) ?? fail("ENOENT", "unlink", path);
    if (node.kind === "folder") throw diskFailure("EISDIR", "unlink", path);
    folder.entries.delete(name);
    folder.changes.push({ name, node: undefined });
  }

  return {
    process,
    crash: (crashSeed) => {
      const random = seededRandom(crashSeed);
      const found = nodeAfterCrash(top, random, random.pick(["nothing", "everything", "order", "any"]), new Map());
      return diskAround(found as Folder, clock, crashSeed);
    },
  };
}

/** What of the changes that were not durable is found after a power cut. */
type Survivors = "nothing" | "everything" | "order" | "any";

/** `done` keeps the names of one file together. */
function nodeAfterCrash(node: Node, random: SeededRandom, survivors: Survivors, done: Map<Node, Node>): Node {
  const known = done.get(node);
  if (known !== undefined) return known;
  const found =
    node.kind === "folder" ? folderAfterCrash(node, random, survivors, done) : fileAfterCrash(node, random, survivors);
  done.set(node, found);
  return found;
}

function folderAfterCrash(folder: Folder, random: SeededRandom, survivors: Survivors, done: Map<Node, Node>): Folder {
  const names = new Map(folder.durable);
  const reached = random.below(folder.changes.length + 1);
  for (const [index, change] of folder.changes.entries()) {
    const survives =
      survivors === "everything" ||
      (survivors === "order" && index < reached) ||
      (survivors === "any" && random.chance(0.5));
    if (survives) applyChange(names, change);
  }
  const entries = new Map<string, Node>();
  for (const [name, node] of names) entries.set(name, nodeAfterCrash(node, random, survivors, done));
  return { ...newFolder(folder.modifiedMs), entries, durable: new Map(entries) };
}

function applyChange(names: Map<string, Node>, { name, node }: Change): void {
  if (node === undefined) names.delete(name);
  else names.set(name, node);
}

function fileAfterCrash(file: File, random: SeededRandom, survivors: Survivors): File {
  const bytes = Buffer.concat(file.pieces);
  const unsure = file.sizeBytes - file.durableBytes;
  // "Everything" is about names: that a file has its name but not its bytes is the case that matters most.
  const kept = survivors === "nothing" ? 0 : random.pick([0, unsure, random.below(unsure + 1)]);
  const found = bytes.subarray(0, file.durableBytes + kept);
  for (let at = file.durableBytes; at < found.length;) {
    const end = Math.min(found.length, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    const fate = random.below(3);
    if (fate === 0) found.fill(0, at, end);
    if (fate === 1) for (let index = at; index < end; index++) found[index] = random.below(256);
    at = end;
  }
  return {
    kind: "file",
    pieces: [found],
    sizeBytes: found.length,
    durableBytes: found.length,
    lost: false,
    modifiedMs: file.modifiedMs,
  };
}

function append(file: File, pieces: readonly Uint8Array[], atMostBytes: number, nowMs: number): number {
  const all = Buffer.concat(pieces);
  const taken = all.length > atMostBytes ? Buffer.from(all.subarray(0, atMostBytes)) : all;
  file.pieces.push(taken);
  file.sizeBytes += taken.length;
  file.modifiedMs = nowMs;
  return taken.length;
}

function readAt(file: File, into: Uint8Array, offset: number, atMostBytes: number): number {
  if (file.pieces.length > 1) file.pieces = [Buffer.concat(file.pieces)];
  const from = file.pieces[0] ?? Buffer.alloc(0);
  return from.copy(into, 0, offset, Math.min(from.length, offset + Math.min(into.byteLength, atMostBytes)));
}

function statOf(node: Node): DiskStat {
  return { kind: node.kind, sizeBytes: node.kind === "file" ? node.sizeBytes : 0, modifiedMs: node.modifiedMs };
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

function lastPartOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function diskFailure(errno: string, operation: string, path: string): Error {
  return Object.assign(new Error(`${errno}: ${operation} '${path}'`), { code: errno });
}

function fail(errno: string, operation: string, path: string): never {
  throw diskFailure(errno, operation, path);
}
