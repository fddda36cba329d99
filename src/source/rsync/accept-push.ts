import type { RawPath } from "../../platform/raw-path.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import type { ReportProblem, Source, SourceEntry } from "../source.ts";
import { problemFromComplaint } from "./complaints.ts";
import { listedSource } from "./listed-source.ts";
import type { ListedSource } from "./listed-source.ts";
import type { Basis } from "./protocol/basis.ts";
import { receiveFileList } from "./protocol/file-list-decoder.ts";
import type { ReceivedFileList } from "./protocol/file-list-decoder.ts";
import { orderFiles } from "./protocol/file-order.ts";
import { receiveFilterRules } from "./protocol/filter-rules.ts";
import { ReceiverSession, ioErrorWords, isComplaint } from "./protocol/receiver.ts";
import { RSYNC_EXIT, RsyncRefusedError } from "./protocol/rsync-error.ts";
import type { ServerArguments } from "./protocol/server-arguments.ts";
import { serveRsync, serverListForm } from "./protocol/server-session.ts";
import type { ServerSession, ServerTransport } from "./protocol/server-session.ts";

/** What is done with files that a stock rsync pushes. */
export interface PushReceiver {
  /**
   * Saves everything that the source gives, and makes the snapshot. The source's entries end only when the rsync at the
   * other end has sent all that it was asked for; where it fails, or goes away, the source throws, and there must be no
   * snapshot. Resolves when the snapshot is safe: only then is the other side told that all went well.
   */
  save(source: Source): Promise<void>;
  /** The last version of a file, so that only what has changed in it must travel. */
  previous(path: RawPath): Promise<Basis | undefined>;
  /** For a dry run: whether the file would be sent. */
  isChanged(entry: SourceEntry): Promise<boolean>;
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
    const prefix = destinationOf(request);
    const received = await receiveList(session, receiver);
    await save(session, received, prefix, receiver);
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
  if (request.prunesEmpty) throw new RsyncRefusedError("empty folders belong to a snapshot (-m)");
}

/** Folder of the snapshot that everything goes into; "" for its top. */
function destinationOf({ paths }: ServerArguments): RawPath {
  if (paths.length > 1) throw new RsyncRefusedError("there can be only one destination", RSYNC_EXIT.usage);
  const parts = (paths[0]?.text ?? "").split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new RsyncRefusedError("there is nothing above a snapshot", RSYNC_EXIT.usage);
  return rawPathFromText(parts.join("/"));
}

async function receiveList(session: ServerSession, receiver: PushReceiver): Promise<ReceivedFileList> {
  const { channel, request, agreement, sums } = session;
  let complaints = 0;
  channel.onText = (kind, bytes) => {
    if (!isComplaint(kind) || complaints++ >= MOST_COMPLAINTS) return;
    receiver.onProblem(problemFromComplaint(bytes.toString("utf8")));
  };
  // Rules about what not to delete. A snapshot holds what was sent, and nothing else.
  if (request.deletes) await receiveFilterRules(channel);
  const form = serverListForm(agreement, request, sums);
  const received = await receiveFileList(channel.input, form, receiver.mostFiles ?? MOST_FILES);
  const ioErrors = received.ioErrors | channel.ioErrors;
  if (ioErrors !== 0 && complaints === 0) {
    receiver.onProblem({ path: "" as RawPath, during: "list", error: new Error(ioErrorWords(ioErrors)) });
  }
  // Of a path that is not there, rsync tells the person who named it, and nobody else.
  if (received.list.count === 0) throw new RsyncRefusedError("nothing was sent, and that makes no snapshot");
  refuseMixedTops(received);
  return received;
}

function refuseMixedTops({ list }: ReceivedFileList): void {
  const absolute = list.absoluteTop();
  if (absolute === undefined) return;
  for (let entry = 0; entry < list.count; entry++) {
    if (list.parentOf(entry) === 0) {
      throw new RsyncRefusedError("with -R, give either absolute paths or relative ones", RSYNC_EXIT.usage);
    }
  }
}

async function save(
  { channel, request, agreement, sums }: ServerSession,
  received: ReceivedFileList,
  prefix: RawPath,
  receiver: PushReceiver,
): Promise<void> {
  const { onProblem } = receiver;
  const listedMs = Date.now();
  const order = orderFiles(received.list);
  const session = new ReceiverSession({ channel, agreement, sums, received, role: "server", dryRun: request.dryRun });
  session.start();
  const at = (path: RawPath): RawPath =>
    prefix === "" ? path : path === "" ? prefix : (`${prefix}/${path}` as RawPath);
  const listed = listedSource({
    received,
    order,
    session,
    onProblem: (problem) => onProblem({ ...problem, path: at(problem.path) }),
    previous: (path) => receiver.previous(at(path)),
    listedMs,
  });
  const sized = withinSizes(listed, request);
  try {
    if (request.dryRun) {
      await askForChanged(listed, belowPrefix(sized, prefix), receiver);
      await session.finish();
    } else {
      const entries = endingWith(belowPrefix(sized, prefix), () => session.finish().then(() => undefined));
      await receiver.save({
        entries,
        details: (entry) => listed.details(asListed(entry)),
        content: (entry) => listed.content(asListed(entry)),
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

type Entries = () => AsyncIterable<readonly SourceEntry[]>;

/** An entry that was put into a folder of the snapshot. */
interface MovedEntry extends SourceEntry {
  readonly listed: SourceEntry;
}

const asListed = (entry: SourceEntry): SourceEntry => ("listed" in entry ? (entry as MovedEntry).listed : entry);

/** --min-size and --max-size are the receiver's to heed. */
function withinSizes(listed: ListedSource, { minimumBytes, maximumBytes }: ServerArguments): Entries {
  if (minimumBytes === 0 && maximumBytes === Number.POSITIVE_INFINITY) return () => listed.entries();
  const fits = ({ stat }: SourceEntry): boolean =>
    stat.type !== "file" || (stat.sizeBytes >= minimumBytes && stat.sizeBytes <= maximumBytes);
  return async function* () {
    for await (const batch of listed.entries()) yield batch.filter(fits);
  };
}

/** Puts everything into a folder of the snapshot. The folders above it are made up. */
function belowPrefix(entries: Entries, prefix: RawPath): Entries {
  if (prefix === "") return entries;
  const parts = prefix.split("/") as RawPath[];
  return async function* () {
    let isFirst = true;
    for await (const batch of entries()) {
      const moved: MovedEntry[] = [];
      for (const entry of batch) {
        if (isFirst) {
          isFirst = false;
          for (let depth = 0; depth < parts.length; depth++) {
            const path = parts.slice(0, depth).join("/") as RawPath;
            const name = (depth === 0 ? "" : parts[depth - 1]) as RawPath;
            moved.push({ listed: entry, path, name, depth, stat: entry.stat });
          }
          const name = parts[parts.length - 1];
          moved.push({ listed: entry, path: prefix, name, depth: parts.length, stat: entry.stat });
        } else {
          const path = `${prefix}/${entry.path}` as RawPath;
          moved.push({ listed: entry, path, name: entry.name, depth: entry.depth + parts.length, stat: entry.stat });
        }
      }
      yield moved;
    }
  };
}

function endingWith(entries: Entries, end: () => Promise<void>): Entries {
  return async function* () {
    yield* entries();
    await end();
  };
}

async function askForChanged(listed: ListedSource, entries: Entries, receiver: PushReceiver): Promise<void> {
  for await (const batch of entries()) {
    for (const entry of batch) {
      if (entry.stat.type === "file" && (await receiver.isChanged(entry))) listed.content(asListed(entry));
    }
  }
}
