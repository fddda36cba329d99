import { MAXIMUM_NAME_BYTES, type TreeEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { ReportProblem, Source, SourceEntry } from "../source.ts";
import { problemFromComplaint } from "./complaints.ts";
import { asListed, pushChanges, type MovedEntry, type PushChanges } from "./push-changes.ts";
import { folderDigests, type FolderDigests } from "./folder-digests.ts";
import { listedSource } from "./listed-source.ts";
import type { ListedSource } from "./listed-source.ts";
import type { PreviousTree } from "./previous-walk.ts";
import type { Basis } from "./protocol/basis.ts";
import type { StrongSums } from "./protocol/checksums.ts";
import { isDirectory } from "./protocol/file-list.ts";
import { receiveFileList } from "./protocol/file-list-decoder.ts";
import type { ReceivedFileList } from "./protocol/file-list-decoder.ts";
import { hasMixedTops, orderFiles } from "./protocol/file-order.ts";
import { receiveFilterRules } from "./protocol/filter-rules.ts";
import { ReceiverSession, ioErrorWords, isComplaint } from "./protocol/receiver.ts";
import { RSYNC_EXIT, RsyncRefusedError } from "./protocol/rsync-error.ts";
import type { ServerArguments } from "./protocol/server-arguments.ts";
import { serveRsync, serverListForm } from "./protocol/server-session.ts";
import type { ServerSession, ServerTransport } from "./protocol/server-session.ts";

/** What is done with files that a stock rsync pushes. */
export interface PushReceiver {
  /**
   * Saves everything that the source gives, and makes the snapshot. The source's `finish` resolves when the rsync at the
   * other end has sent all that it was asked for; where it fails, or goes away, the source throws, and there must be no
   * snapshot. Resolves when the snapshot is safe: only then is the other side told that all went well.
   */
  save(source: Source): Promise<void>;
  /** The last version of a file, so that only what has changed in it must travel. */
  previous(path: RawPath): Promise<Basis | undefined>;
  /** The last snapshot, to tell what has changed since; undefined where there is none, or none that may be read. */
  previousTree(): Promise<PreviousTree | undefined>;
  readonly onProblem: ReportProblem;
  readonly mostFiles?: number;
}

const MOST_FILES = 20_000_000;
const MOST_COMPLAINTS = 10_000;

/**
 * Accepts what a stock rsync pushes: `rsync -aHAX --numeric-ids / backup@server:`. `command` is what that rsync asked ssh
 * to start. Resolves with the exit status for the process that stands in for `rsync --server`. Never throws: what goes
 * wrong is told to the one who pushes.
 */
export function acceptPush(transport: ServerTransport, command: string, receiver: PushReceiver): Promise<number> {
  return serveRsync(transport, command, async (session) => {
    const { request } = session;
    if (request.isSender) return session.refuse("this is the door for sending files, not for fetching any");
    refuseHalfSnapshots(request);
    const destination = destinationOf(request);
    const push = await receiveList(session, receiver);
    await save(session, push, placeFor(destination, push.received), receiver);
    return RSYNC_EXIT.ok;
  });
}

/** A snapshot from which a restore brings everything back needs all that -a sends. */
function refuseHalfSnapshots(request: ServerArguments): void {
  const missing = [
    request.owners ? "" : "-o",
    request.groups ? "" : "-g",
    request.permissions ? "" : "-p",
    request.times ? "" : "-t",
    request.symlinks ? "" : "-l",
  ].filter((option) => option !== "");
  if (missing.length > 0) {
    throw new RsyncRefusedError(`a snapshot needs all that rsync -a sends; ${missing.join(" ")} is missing`);
  }
  if (request.listsOnly) {
    throw new RsyncRefusedError(
      "nothing is listed here before it is sent; --dry-run --itemize-changes tells what would be",
    );
  }
  if (request.prunesEmpty) throw new RsyncRefusedError("empty folders belong to a snapshot (-m)");
}

/** What was named after the colon of `backup@server:`. */
interface Destination {
  /** From the top of the snapshot; "" for the top itself. */
  readonly path: RawPath;
  /** It was written so that only a folder can be meant. */
  readonly isFolder: boolean;
}

function destinationOf({ paths }: ServerArguments): Destination {
  if (paths.length > 1) throw new RsyncRefusedError("there can be only one destination", RSYNC_EXIT.usage);
  const text = paths[0]?.text ?? "";
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new RsyncRefusedError("there is nothing above a snapshot", RSYNC_EXIT.usage);
  if (parts.some((part) => part.length > MAXIMUM_NAME_BYTES)) {
    throw new RsyncRefusedError("the destination has a name of more than 255 bytes", RSYNC_EXIT.usage);
  }
  return { path: parts.join("/") as RawPath, isFolder: parts.length === 0 || /(?:^|\/)\.?$/.test(text) };
}

/** Where in the snapshot that which is pushed comes to lie. */
interface Place {
  /** The folder that everything goes into; "" for the top. */
  readonly folder: RawPath;
  /** A new name for the only file that is pushed. */
  readonly fileName: RawPath | undefined;
}

/** What is no folder and is pushed alone gets the destination's name, as where an rsync makes it (main.c, get_local_name). */
function placeFor({ path, isFolder }: Destination, { list }: ReceivedFileList): Place {
  const isFileAlone = list.count === 1 && list.parentOf(0) === 0 && !isDirectory(list.mode(0));
  if (isFolder || !isFileAlone) return { folder: path, fileName: undefined };
  const slash = path.lastIndexOf("/");
  return { folder: path.slice(0, Math.max(slash, 0)) as RawPath, fileName: path.slice(slash + 1) as RawPath };
}

interface ReceivedPush {
  readonly received: ReceivedFileList;
  /** Undefined where each file must be looked at, whatever the list says of it. */
  readonly digests: FolderDigests | undefined;
}

async function receiveList(session: ServerSession, receiver: PushReceiver): Promise<ReceivedPush> {
  const { channel, request, agreement, sums } = session;
  let complaints = 0;
  channel.onText = (kind, bytes) => {
    if (!isComplaint(kind) || complaints++ >= MOST_COMPLAINTS) return;
    receiver.onProblem(problemFromComplaint(bytes.toString("utf8")));
  };
  // Rules about what not to delete. A snapshot holds what was sent, and nothing else.
  if (request.deletes) await receiveFilterRules(channel);
  const form = serverListForm(agreement, request, sums);
  const { minimumBytes, maximumBytes, safeLinks } = request;
  const circumstances = JSON.stringify([form, minimumBytes, maximumBytes, safeLinks]);
  const looksAtEach = request.checksum || request.ignoresTimes || request.dryRun;
  const digests = looksAtEach ? undefined : folderDigests(circumstances, Date.now());
  const received = await receiveFileList(channel.input, form, receiver.mostFiles ?? MOST_FILES, digests?.takeIn);
  const ioErrors = received.ioErrors | channel.ioErrors;
  if (ioErrors !== 0 && complaints === 0) {
    receiver.onProblem({ path: "" as RawPath, during: "list", error: new Error(ioErrorWords(ioErrors)) });
  }
  // Of a path that is not there, rsync tells the person who named it, and nobody else.
  if (received.list.count === 0) throw new RsyncRefusedError("nothing was sent, and that makes no snapshot");
  return { received, digests };
}

async function save(
  { channel, request, agreement, sums }: ServerSession,
  { received, digests }: ReceivedPush,
  place: Place,
  receiver: PushReceiver,
): Promise<void> {
  const { onProblem } = receiver;
  const listedMs = Date.now();
  const order = orderFiles(received.list);
  if (hasMixedTops(received.list, order)) {
    throw new RsyncRefusedError("with -R, give either absolute paths or relative ones", RSYNC_EXIT.usage);
  }
  const session = new ReceiverSession({ channel, agreement, sums, received, role: "server", dryRun: request.dryRun });
  session.start();
  const at = (path: RawPath): RawPath => placed(place, path);
  const tree = await receiver.previousTree();
  const listed = listedSource({
    received,
    order,
    session,
    onProblem: (problem) => onProblem({ ...problem, path: at(problem.path) }),
    previous: (path) => receiver.previous(at(path)),
    told: { previously: (path) => entryBefore(tree, at(path)), compares: request },
    listedMs,
    digests,
  });
  const wanted = inPlace(withoutUnwanted(listed, request), place);
  const changes = pushChanges({ channel, request, listed, folder: place.folder, tree });
  const isChanged = contentComparison(listed, receiver, request, sums);
  const entries = compared(wanted, changes, session, isChanged);
  try {
    if (request.dryRun) {
      await tellChanges(entries, changes, listed);
      await session.finish();
    } else {
      await receiver.save({
        tellsNoCtime: listed.tellsNoCtime,
        entries,
        skip: (entry) => {
          listed.skip(asListed(entry));
          changes.skip(entry);
        },
        finish: async () => void (await session.finish()),
        details: (entry) => {
          changes.tell(entry);
          return listed.details(asListed(entry));
        },
        content: (entry) => listed.content(asListed(entry), changes.ofSent(entry)),
        close: () => Promise.resolve(),
        owners: listed.owners,
      });
    }
    await session.sayGoodbye();
  } catch (error) {
    session.close(error);
    throw error;
  }
}

async function entryBefore(tree: PreviousTree | undefined, path: RawPath): Promise<TreeEntry | undefined> {
  try {
    return await tree?.lookup(path);
  } catch {
    // A snapshot that is damaged is for `check` to tell of: what it does not give is sent.
    return undefined;
  }
}

type Entries = () => AsyncIterable<readonly SourceEntry[]>;

/** --min-size, --max-size and --safe-links are the receiver's to heed. */
function withoutUnwanted(listed: ListedSource, request: ServerArguments): Entries {
  const { minimumBytes, maximumBytes, safeLinks } = request;
  if (!safeLinks && minimumBytes === 0 && maximumBytes === Number.POSITIVE_INFINITY) return () => listed.entries();
  const isWanted = (entry: SourceEntry): boolean => {
    const { type, sizeBytes } = entry.stat;
    if (type === "file") return sizeBytes >= minimumBytes && sizeBytes <= maximumBytes;
    return type !== "symlink" || !safeLinks || !leadsOut(listed.listed(entry).target ?? "", entry.depth - 1);
  };
  return async function* () {
    for await (const batch of listed.entries()) yield batch.filter(isWanted);
  };
}

/** Whether a link that lies `depth` folders deep leads out of the transfer (util1.c, unsafe_symlink). */
function leadsOut(target: string, depth: number): boolean {
  if (target === "" || target.startsWith("/")) return true;
  // Up is all right at the start only: further on it may lead from anywhere, through other links.
  if (/\/\.\.(?:\/|$)/.test(target.replace(/^(?:\.\.\/+)+(?!\.\.$)/, ""))) return true;
  let left = depth;
  for (const part of target.split("/")) {
    if (part === "..") left--;
    else if (part !== "" && part !== ".") left++;
    if (left < 0) return true;
  }
  return false;
}

/** Whether the content of a file that looks unchanged is to be sent all the same; undefined where that need not be asked. */
type ContentComparison = ((entry: SourceEntry) => Promise<boolean>) | undefined;

/** --ignore-times takes no file's word for it, and --checksum compares contents, with those of the last snapshot. */
function contentComparison(
  listed: ListedSource,
  receiver: PushReceiver,
  request: ServerArguments,
  sums: StrongSums,
): ContentComparison {
  if (request.ignoresTimes) return () => Promise.resolve(true);
  if (!request.checksum) return undefined;
  return async (entry) => {
    const theirs = listed.listedSum(asListed(entry));
    // What cannot be compared is sent.
    const ours = await previousSum(entry, receiver, sums).catch(() => undefined);
    return theirs === undefined || ours === undefined || Buffer.compare(ours, theirs) !== 0;
  };
}

async function previousSum({ path, stat }: SourceEntry, receiver: PushReceiver, sums: StrongSums) {
  const previous = await receiver.previous(path);
  if (previous?.sizeBytes !== stat.sizeBytes) return undefined;
  const sum = sums.startPlainFile();
  for (let offset = 0; offset < stat.sizeBytes; offset += SUM_BYTES) {
    sum.update(await previous.read(offset, Math.min(SUM_BYTES, stat.sizeBytes - offset)));
  }
  return sum.digest().subarray(0, sums.lengthBytes);
}

const SUM_BYTES = 1024 * 1024;

/** Compares what comes with the last snapshot, and marks files whose content is to be sent although they look the same. */
function compared(
  entries: Entries,
  changes: PushChanges,
  session: ReceiverSession,
  isChanged: ContentComparison,
): Entries {
  return async function* () {
    for await (const batch of entries()) {
      await session.ready();
      const all: SourceEntry[] = [];
      for (const entry of batch) {
        const isMarked = entry.stat.type === "file" && (await isChanged?.(entry)) === true;
        all.push(await changes.compare(entry, isMarked));
      }
      yield all;
    }
    await changes.end();
  };
}

function placed({ folder, fileName }: Place, path: RawPath): RawPath {
  if (path === "") return folder;
  const name = fileName ?? path;
  return folder === "" ? name : (`${folder}/${name}` as RawPath);
}

/** Puts everything into a folder of the snapshot. The folders above it are made up. */
function inPlace(entries: Entries, place: Place): Entries {
  const { folder, fileName } = place;
  if (folder === "" && fileName === undefined) return entries;
  const parts = (folder === "" ? [] : folder.split("/")) as RawPath[];
  return async function* () {
    let isFirst = true;
    for await (const batch of entries()) {
      const moved: MovedEntry[] = [];
      for (const entry of batch) {
        if (isFirst) {
          isFirst = false;
          for (let depth = 0; depth <= parts.length; depth++) {
            const path = parts.slice(0, depth).join("/") as RawPath;
            const name = (depth === 0 ? "" : parts[depth - 1]) as RawPath;
            const digest = depth === parts.length ? entry.digest : undefined;
            const isMadeUp = depth < parts.length;
            moved.push({ listed: entry, path, name, depth, stat: entry.stat, digest, isMadeUp });
          }
        } else {
          const path = placed(place, entry.path);
          const name = fileName ?? entry.name;
          const { stat, digest } = entry;
          const { detailsComeWithContent } = entry;
          const depth = entry.depth + parts.length;
          moved.push({ listed: entry, path, name, depth, stat, digest, detailsComeWithContent, isMadeUp: false });
        }
      }
      yield moved;
    }
  };
}

/** A dry run: asks for what would be sent, which nobody sends, and tells what else would change. */
async function tellChanges(entries: Entries, changes: PushChanges, listed: ListedSource): Promise<void> {
  for await (const batch of entries()) {
    for (const entry of batch) {
      if (changes.wouldBeSent(entry)) listed.content(asListed(entry), changes.ofSent(entry));
      else changes.tell(entry);
    }
  }
}
