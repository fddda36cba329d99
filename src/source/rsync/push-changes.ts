import type { TreeEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { SourceEntry } from "../source.ts";
import { changeFlags, isContentChanged, type ListedState } from "./listed-changes.ts";
import type { ListedSource } from "./listed-source.ts";
import { PreviousWalk } from "./previous-walk.ts";
import type { PreviousTree } from "./previous-walk.ts";
import type { Channel } from "./protocol/channel.ts";
import { ITEM } from "./protocol/items.ts";
import { isAbbreviated } from "./protocol/xattr.ts";
import type { ServerArguments } from "./protocol/server-arguments.ts";

/** An entry that was put into a folder of the snapshot. */
export interface MovedEntry extends SourceEntry {
  readonly listed: SourceEntry;
  /** A folder above what is pushed, of which the list says nothing. */
  readonly isMadeUp: boolean;
}

export const asListed = (entry: SourceEntry): SourceEntry => ("listed" in entry ? (entry as MovedEntry).listed : entry);
const isMadeUp = (entry: SourceEntry): boolean => "isMadeUp" in entry && (entry as MovedEntry).isMadeUp;

/**
 * What has changed since the last snapshot, for the one who pushes: what `--itemize-changes`, `--verbose` and `--dry-run`
 * show. It decides nothing.
 */
export interface PushChanges {
  /** To be called for each entry, in walk order, and gives it back. `isMarked`: its content is sent in any case. */
  compare(entry: SourceEntry, isMarked: boolean): Promise<SourceEntry>;
  skip(directory: SourceEntry): void;
  end(): Promise<void>;
  /** Whether rsync would send the content. */
  wouldBeSent(entry: SourceEntry): boolean;
  /** For an entry whose content is asked for: `ITEM` bits, which are told with that. */
  ofSent(entry: SourceEntry): number | undefined;
  /** Tells of an entry that was not asked for, if there is anything to tell. */
  tell(entry: SourceEntry): void;
}

export interface PushChangesParts {
  readonly channel: Channel;
  readonly request: ServerArguments;
  readonly listed: ListedSource;
  /** Where in the snapshot that which is pushed lies. */
  readonly folder: RawPath;
  readonly tree: PreviousTree | undefined;
}

interface Change {
  readonly flags: number;
  /** Of a file. */
  readonly isContentChanged: boolean;
  /** Of a further name of an inode, the first. */
  readonly firstName: RawPath | undefined;
}

export function pushChanges({ channel, request, listed, folder, tree }: PushChangesParts): PushChanges {
  const changes = new WeakMap<SourceEntry, Change>();
  const told = new WeakSet<SourceEntry>();
  /** Of inodes with names that are still to come. */
  const firstNames = new Map<string, { readonly path: RawPath; namesLeft: number }>();
  let walk = tree === undefined ? undefined : new PreviousWalk(tree, request.deletes ? tellGone : undefined);
  let isKnown = true;

  function tellGone(path: RawPath, isDirectory: boolean): void {
    if (folder === "") channel.sendDeleted(path, isDirectory);
    else if (path.startsWith(`${folder}/`)) channel.sendDeleted(path.slice(folder.length + 1), isDirectory);
  }

  /** Without the last snapshot there is nothing to tell, but a push does not need it. */
  async function previously<Found>(look: (walk: PreviousWalk) => Promise<Found>): Promise<Found | undefined> {
    if (walk === undefined) return undefined;
    try {
      return await look(walk);
    } catch (error) {
      if (request.dryRun) throw error;
      walk = undefined;
      isKnown = false;
      return undefined;
    }
  }

  function firstNameOf({ stat, path }: SourceEntry): RawPath | undefined {
    if (stat.links < 2) return undefined;
    const inode = `${stat.inodeHigh}:${stat.inodeLow}`;
    const known = firstNames.get(inode) ?? { path, namesLeft: stat.links };
    known.namesLeft--;
    if (known.namesLeft === 0) firstNames.delete(inode);
    else firstNames.set(inode, known);
    return known.path === path ? undefined : known.path;
  }

  function changeOf(entry: SourceEntry, state: ListedState, before: TreeEntry | undefined, isMarked: boolean): Change {
    const flags = isKnown ? changeFlags(state, before, request) : 0;
    const isShown = entry.stat.type === "file" && isContentChanged(entry.stat, before);
    // Neither its size nor its time shows that there is a change.
    const isBehindThem = isMarked && request.checksum && !isShown;
    return {
      flags: flags | (isBehindThem ? ITEM.reportChange : 0),
      isContentChanged: isMarked || isShown,
      firstName: firstNameOf(asListed(entry)),
    };
  }

  const isSent = (change: Change): boolean => change.isContentChanged && change.firstName === undefined;

  return {
    async compare(entry, isMarked) {
      const before = await previously((known) => known.before(entry));
      if (isMadeUp(entry)) return entry;
      const state = listed.listed(asListed(entry));
      const change = changeOf(entry, state, before, isMarked);
      const comesWithContent = isSent(change) && state.xattrs.some(isAbbreviated);
      const detailsComeWithContent = comesWithContent || entry.detailsComeWithContent;
      const compared =
        isMarked || comesWithContent ? { ...entry, isToBeRead: isMarked, detailsComeWithContent } : entry;
      changes.set(compared, change);
      return compared;
    },
    skip: (directory) => walk?.skip(directory),
    async end() {
      await previously((known) => known.end());
    },
    wouldBeSent(entry) {
      const change = changes.get(entry);
      return change !== undefined && isSent(change);
    },
    ofSent(entry) {
      told.add(entry);
      return isKnown ? changes.get(entry)?.flags : undefined;
    },
    tell(entry) {
      const change = changes.get(entry);
      if (change === undefined || change.flags === 0 || told.has(entry)) return;
      told.add(entry);
      if (!change.isContentChanged) listed.tell(asListed(entry), change.flags);
      else if (change.firstName === undefined) listed.tell(asListed(entry), change.flags | ITEM.localChange);
      else listed.tell(asListed(entry), change.flags | ITEM.localChange | ITEM.nameFollows, change.firstName);
    },
  };
}
