import type { Writable } from "node:stream";
import { HoldfastError, messageOf } from "../../../errors.ts";
import { Channel, MESSAGE } from "./channel.ts";
import type { Transport } from "./channel.ts";
import { openStrongSums } from "./checksums.ts";
import type { StrongSums } from "./checksums.ts";
import type { FileListForm } from "./file-list-decoder.ts";
import { greetAsServer } from "./handshake.ts";
import type { Agreement } from "./handshake.ts";
import { RSYNC_EXIT, RsyncFailedError, RsyncProtocolError, RsyncRefusedError } from "./rsync-error.ts";
import { parseServerArguments, plainWord, splitCommand } from "./server-arguments.ts";
import type { ServerArguments } from "./server-arguments.ts";

/** A connection on which somebody's rsync started `rsync --server`. */
export interface ServerTransport extends Transport {
  /** Where it shows what is said before, or instead of, the protocol: the standard error of the ssh command. */
  readonly complaints: Writable;
}

export interface ServerSession {
  readonly channel: Channel;
  readonly request: ServerArguments;
  readonly agreement: Agreement;
  readonly sums: StrongSums;
  /** Ends the session with a message that the client shows. */
  readonly refuse: (message: string, exitCode?: number) => never;
}

/** Silence of the client that ends a session, where it does not set a limit itself. */
const SILENCE_MS = 60 * 60 * 1000;
const KEEP_ALIVE_MS = 15 * 1000;
/** How long a client may take to go after it was told to. */
const LINGER_MS = 5 * 1000;
const MOST_ARGUMENTS = 1000;
const LONGEST_ARGUMENT_BYTES = 4096;

/**
 * Greets a client that wants `rsync --server`, and lets `serve` do the rest; `command` is what it asked ssh to start, one
 * character a byte.
 * Resolves with an exit status as rsync's would be. Whatever goes wrong the client is told.
 */
export async function serveRsync(
  transport: ServerTransport,
  command: string,
  serve: (session: ServerSession) => Promise<number>,
): Promise<number> {
  const channel = new Channel(transport);
  let protocol = 0;
  try {
    channel.watch(SILENCE_MS, KEEP_ALIVE_MS);
    const request = await readArguments(channel, command);
    const limitMs = request.timeoutSeconds > 0 ? request.timeoutSeconds * 1000 : SILENCE_MS;
    channel.watch(limitMs, Math.min(KEEP_ALIVE_MS, limitMs / 2));
    const agreement = await greetAsServer(channel, {
      clientCapabilities: request.capabilities,
      negotiateCompression: request.compress && request.compressChoice === undefined,
      checksum: request.checksumChoice,
      compression: request.compressChoice,
      seed: request.seed === 0 ? undefined : request.seed,
    });
    protocol = agreement.protocol;
    channel.multiplexOutput();
    if (agreement.protocol >= 30) channel.multiplexInput();
    if (request.refusal !== undefined) throw request.refusal;
    refuseBeforeAttributes(request, agreement);
    const sums = await openStrongSums(agreement.checksum, agreement.seed);
    const exitCode = await serve({ channel, request, agreement, sums, refuse });
    await channel.end();
    channel.close();
    return exitCode;
  } catch (error) {
    return sayWhatIsWrong(error, channel, transport, protocol);
  }
}

/** How the list of files looks that the client sends or gets. */
export function serverListForm(agreement: Agreement, request: ServerArguments, sums: StrongSums): FileListForm {
  return {
    protocol: agreement.protocol,
    varintFlags: agreement.varintFlags,
    safeFileList: agreement.safeFileList,
    sendsIdZeroNames: agreement.sendsIdZeroNames,
    numericIds: request.numericIds,
    relative: request.relative,
    owners: request.owners,
    groups: request.groups,
    devices: request.devices,
    specials: request.specials,
    symlinks: request.symlinks,
    hardLinks: request.hardLinks,
    acls: request.acls,
    xattrs: request.xattrs,
    accessTimes: request.accessTimes,
    creationTimes: request.creationTimes,
    checksumBytes: request.checksum ? sums.lengthBytes : 0,
  };
}

async function readArguments(channel: Channel, command: string): Promise<ServerArguments> {
  const [program, ...words] = splitCommand(command);
  if (program === undefined || !/(?:^|\/)rsync$/.test(program.text)) {
    throw new RsyncRefusedError("only rsync can be used here", RSYNC_EXIT.usage);
  }
  const request = parseServerArguments(words);
  if (!request.secluded) return request;
  const more: string[] = [];
  for (;;) {
    const word = await channel.input.decode((from) => {
      const start = from.at;
      while (from.byte() !== 0) {
        if (from.at - start > LONGEST_ARGUMENT_BYTES)
          throw new RsyncRefusedError("an argument is too long", RSYNC_EXIT.usage);
      }
      return from.bytes.latin1Slice(start, from.at - 1);
    });
    if (word === "") break;
    more.push(word);
    if (more.length > MOST_ARGUMENTS) throw new RsyncRefusedError("there are too many arguments", RSYNC_EXIT.usage);
  }
  // The first of them is the name of the program.
  return { ...parseServerArguments([...words, ...more.slice(1).map(plainWord)]), secluded: true };
}

function refuseBeforeAttributes(request: ServerArguments, agreement: Agreement): void {
  if (agreement.protocol >= 30 || !(request.acls || request.xattrs)) return;
  throw new RsyncRefusedError(`ACLs and attributes need protocol 30; this rsync speaks ${agreement.protocol}`);
}

function refuse(message: string, exitCode?: number): never {
  throw new RsyncRefusedError(message, exitCode);
}

async function sayWhatIsWrong(
  error: unknown,
  channel: Channel,
  transport: ServerTransport,
  protocol: number,
): Promise<number> {
  const exitCode = exitCodeOf(error);
  const hint = error instanceof HoldfastError && error.hint !== undefined ? ` (${error.hint})` : "";
  const text = `holdfast: ${messageOf(error)}${hint}\n`;
  if (channel.isMultiplexedOut) {
    channel.sendText(MESSAGE.error, text);
    if (protocol >= 31) channel.sendNumber(MESSAGE.errorExit, exitCode);
  } else {
    transport.complaints.write(text);
  }
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([channel.end(), new Promise((resolve) => (timer = setTimeout(resolve, LINGER_MS)))]);
  clearTimeout(timer);
  channel.close();
  return exitCode;
}

function exitCodeOf(error: unknown): number {
  const known =
    error instanceof RsyncProtocolError || error instanceof RsyncFailedError || error instanceof RsyncRefusedError;
  return known ? error.rsyncExitCode : RSYNC_EXIT.partial;
}
