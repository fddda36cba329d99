import type { DirectoryEntry, TreeEntry } from "../../format/tree.ts";
import { joinRaw, type RawPath } from "../../platform/raw-path.ts";
import type { SourceEntry } from "../source.ts";

/** The last snapshot of what is pushed. */
export interface PreviousTree {
  readonly top: DirectoryEntry;
  lookup(path: RawPath): Promise<TreeEntry | undefined>;
  /** In ascending order of name. */
  list(directory: DirectoryEntry): AsyncIterable<TreeEntry>;
}

/** What is no longer there. */
export type OnGone = (path: RawPath, isDirectory: boolean) => void;

interface Frame {
  readonly path: RawPath;
  readonly rest: AsyncIterator<TreeEntry>;
  next: TreeEntry | undefined;
  /** What is not asked for in it is not gone: nobody looks. */
  isSkipped: boolean;
}

/** Goes through the last snapshot beside a walk of what is there now. */
export class PreviousWalk {
  readonly #tree: PreviousTree;
  readonly #onGone: OnGone | undefined;
  /** By depth of what lies in them, folders in which the walk is. */
  readonly #frames: (Frame | undefined)[] = [];

  constructor(tree: PreviousTree, onGone?: OnGone) {
    this.#tree = tree;
    this.#onGone = onGone;
  }

  /** What stood at the place of an entry. They must come in walk order. */
  async before({ path, name, depth, stat }: SourceEntry): Promise<TreeEntry | undefined> {
    await this.#leaveTo(depth);
    const before = depth === 0 ? this.#tree.top : await this.#find(depth, name);
    if (before?.type !== "directory") return before;
    if (stat.type === "directory") this.#frames[depth + 1] = await this.#open(before, path);
    else await this.#tellGoneBelow(before, path);
    return before;
  }

  /** What is below this directory, which was given, is not looked at. */
  skip({ path, depth }: SourceEntry): void {
    if (this.#frames[depth + 1]?.path !== path) return;
    for (const frame of this.#frames.slice(depth + 1)) if (frame !== undefined) frame.isSkipped = true;
  }

  /** To be called after the last entry. */
  end(): Promise<void> {
    return this.#leaveTo(0);
  }

  async #open(directory: DirectoryEntry, path: RawPath): Promise<Frame> {
    const rest = this.#tree.list(directory)[Symbol.asyncIterator]();
    return { path, rest, next: await following(rest), isSkipped: false };
  }

  async #find(depth: number, name: RawPath): Promise<TreeEntry | undefined> {
    const frame = this.#frames[depth];
    if (frame === undefined) return undefined;
    await this.#passTo(frame, name);
    const { next } = frame;
    if (next?.name !== name) return undefined;
    frame.next = await following(frame.rest);
    return next;
  }

  /** Passes what stands before a name, or all; that is gone. */
  async #passTo(frame: Frame, name: RawPath | undefined): Promise<void> {
    while (frame.next !== undefined && (name === undefined || frame.next.name < name)) {
      if (!frame.isSkipped) await this.#tellGone(frame.next, joinRaw(frame.path, frame.next.name));
      frame.next = await following(frame.rest);
    }
  }

  async #leaveTo(depth: number): Promise<void> {
    for (const frame of this.#frames.splice(depth + 1).reverse()) {
      if (frame === undefined) continue;
      if (this.#onGone !== undefined && !frame.isSkipped) await this.#passTo(frame, undefined);
      await frame.rest.return?.();
    }
  }

  async #tellGone(entry: TreeEntry, path: RawPath): Promise<void> {
    if (this.#onGone === undefined) return;
    if (entry.type === "directory") await this.#tellGoneBelow(entry, path);
    this.#onGone(path, entry.type === "directory");
  }

  async #tellGoneBelow(directory: DirectoryEntry, path: RawPath): Promise<void> {
    if (this.#onGone === undefined) return;
    for await (const entry of this.#tree.list(directory)) await this.#tellGone(entry, joinRaw(path, entry.name));
  }
}

async function following(rest: AsyncIterator<TreeEntry>): Promise<TreeEntry | undefined> {
  const next = await rest.next();
  return next.done === true ? undefined : next.value;
}
