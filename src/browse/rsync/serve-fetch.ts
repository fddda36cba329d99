import { messageOf } from "../../errors.ts";
import type { ExtendedAttribute } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { FileUnreadableError } from "../../source/source.ts";
import type { Channel } from "../../source/rsync/protocol/channel.ts";
import { MESSAGE } from "../../source/rsync/protocol/channel.ts";
import { compileFilterRules, receiveFilterRules } from "../../source/rsync/protocol/filter-rules.ts";
import { sendFiles } from "../../source/rsync/protocol/sender.ts";
import type { OfferedContent, SendResult } from "../../source/rsync/protocol/sender.ts";
import { RSYNC_EXIT } from "../../source/rsync/protocol/rsync-error.ts";
import { serveRsync, serverListForm } from "../../source/rsync/protocol/server-session.ts";
import type { ServerSession, ServerTransport } from "../../source/rsync/protocol/server-session.ts";
import { offerFiles } from "./offer-files.ts";
import type { Offer } from "./offer-files.ts";
import { openShelfTree } from "./snapshot-shelf.ts";
import type { SnapshotShelf } from "./snapshot-shelf.ts";

/**
 * Answers an rsync that fetches: `rsync -a backup@server:latest/etc/ ./etc/`, `rsync backup@server:`. Resolves with the
 * exit status for the process that stands in for `rsync --server` there. Never throws: what goes wrong is told to the
 * one who fetches.
 */
export function serveFetch(transport: ServerTransport, command: string, shelf: SnapshotShelf): Promise<number> {
  return serveRsync(transport, command, async (session) => {
    if (!session.request.isSender) return session.refuse("this is the door for fetching files, not for sending any");
    if (session.request.filesFrom && session.agreement.protocol === 30) {
      return session.refuse("--files-from needs rsync 3.1 or newer at your end");
    }
    const rules = await receiveFilterRules(session.channel);
    const warned = { any: false };
    const result = await send(session, shelf, rules, warned);
    return result.missed > 0 || warned.any ? RSYNC_EXIT.partial : RSYNC_EXIT.ok;
  });
}

async function send(
  { channel, agreement, sums, request }: ServerSession,
  shelf: SnapshotShelf,
  rules: readonly string[],
  warned: { any: boolean },
): Promise<SendResult> {
  const offer = offerFiles({
    tree: openShelfTree(shelf),
    // From protocol 30 on they are always in the list, marked, and a client takes no file whose folder is not.
    request: { ...request, impliedDirectories: request.impliedDirectories || agreement.protocol >= 30 },
    names: request.filesFrom ? receiveNames(channel) : undefined,
    filters: compileFilterRules(rules),
    sums,
    warn: (text) => {
      warned.any = true;
      channel.sendText(MESSAGE.transferError, `holdfast: ${text}\n`);
    },
    note: (text) => channel.sendText(MESSAGE.info, `${text}\n`),
  });
  return sendFiles({
    channel,
    agreement,
    form: serverListForm(agreement, request, sums),
    sums,
    compressLevel: request.compressLevel,
    dryRun: request.dryRun,
    offered: offer.files,
    isIncomplete: () => warned.any,
    content: offeredContent(offer),
    users: offer.users,
    groups: offer.groups,
  });
}

const LONGEST_NAME_BYTES = 4096;

/** Names that follow each other, each ended by a NUL, and an empty one at the end. */
async function* receiveNames(channel: Channel): AsyncGenerator<string, void, undefined> {
  for (;;) {
    const name = await channel.input.decode((from) => {
      let text = "";
      for (let byte = from.byte(); byte !== 0; byte = from.byte()) {
        if (text.length >= LONGEST_NAME_BYTES) throw new FileUnreadableError("a name in --files-from is too long");
        text += String.fromCharCode(byte);
      }
      return text;
    });
    if (name === "") return;
    yield name;
  }
}

function offeredContent(offer: Offer): OfferedContent {
  return {
    async *pieces(path: RawPath): AsyncGenerator<Uint8Array, void, undefined> {
      const node = await offer.find(path);
      if (node?.entry.type !== "file" || node.view === undefined) throw new FileUnreadableError("it is not there");
      try {
        for await (const piece of node.view.pieces(node.entry)) {
          if (piece.kind === "data") yield piece.bytes;
          else yield* zeros(piece.lengthBytes);
        }
      } catch (error) {
        throw new FileUnreadableError(messageOf(error), { cause: error });
      }
    },
    async xattrs(path: RawPath): Promise<readonly ExtendedAttribute[]> {
      return (await offer.find(path))?.entry.xattrs ?? [];
    },
  };
}

const ZEROS = new Uint8Array(256 * 1024);

function* zeros(lengthBytes: number): Generator<Uint8Array, void, undefined> {
  for (let left = lengthBytes; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
}
