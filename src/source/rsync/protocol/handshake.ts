import type { Channel } from "./channel.ts";
import { RSYNC_EXIT, RsyncProtocolError, RsyncRefusedError } from "./rsync-error.ts";

/** What we speak. A newer rsync comes down to this; nothing older is spoken to. */
export const NEWEST_PROTOCOL = 31;
export const OLDEST_PROTOCOL = 29;
/** A peer that claims more than this is no rsync. */
const HIGHEST_PLAUSIBLE_PROTOCOL = 40;

/**
 * Strongest first, and in this order everywhere, so that both sides choose the same (rsync's `compat.c`). Not MD4: where
 * its seed goes depends on how the rsync was built.
 */
const CHECKSUMS = ["xxh128", "xxh3", "xxh64", "md5", "sha1"] as const;
const COMPRESSIONS = ["zstd", "zlibx", "zlib"] as const;

/** `md4-seeded` is what protocol 29 uses, `md5-old` what 30 does: they cannot be named, only fallen back to. */
export type ChecksumName = (typeof CHECKSUMS)[number] | "md5-old" | "md4-seeded";
export type CompressionName = (typeof COMPRESSIONS)[number] | "none";

/** What both sides have agreed on before the first message. */
export interface Agreement {
  readonly protocol: number;
  /** For sums of blocks, and of whole files after a transfer. */
  readonly checksum: ChecksumName;
  readonly compression: CompressionName;
  readonly seed: number;
  /** Flags of file entries are varints, and the list ends with its I/O errors. */
  readonly varintFlags: boolean;
  /** The end of a list may carry I/O errors even without `varintFlags`. */
  readonly safeFileList: boolean;
  /** The names of user and group 0 are sent as well. */
  readonly sendsIdZeroNames: boolean;
  /** Extended attributes of hard links are not asked for twice. */
  readonly xattrOptimisation: boolean;
}

const COMPAT = {
  incrementalRecursion: 1,
  symlinkTimes: 2,
  safeFileList: 8,
  avoidXattrOptimisation: 16,
  seedFix: 32,
  varintFlags: 128,
  idZeroNames: 256,
} as const;

const LONGEST_CHOICE_LIST = 255;

/**
 * Flags that tell an rsync server what its client can do, as they stand in its `-e` option: no `i`, so that it sends
 * the list of files whole; `L` times of symbolic links, `f` safe list, `x` no shortcut for attributes of hard links,
 * `C` right seed order, `v` varint flags and negotiated checksums, `u` names of id 0.
 */
export const CLIENT_CAPABILITIES = "e.LfxCvu";

/** As the client of `rsync --server`: we started it, with `CLIENT_CAPABILITIES` or without. */
export async function greetAsClient(
  channel: Channel,
  options: { readonly newestProtocol?: number; readonly negotiateCompression: boolean },
): Promise<Agreement> {
  const ours = options.newestProtocol ?? NEWEST_PROTOCOL;
  channel.output.int32(ours);
  await channel.flush();
  const protocol = agreeOnProtocol(ours, await readRemoteProtocol(channel));
  const flags = protocol >= 30 ? await channel.input.decode((from) => from.varint()) : 0;
  if (flags & COMPAT.incrementalRecursion) {
    throw new RsyncProtocolError("rsync there recurses incrementally although it was not asked to");
  }
  const negotiates = (flags & COMPAT.varintFlags) !== 0;
  let checksum = impliedChecksum(protocol, flags);
  let compression: CompressionName = options.negotiateCompression ? "zlib" : "none";
  if (negotiates) {
    writeChoices(channel, CHECKSUMS);
    if (options.negotiateCompression) writeChoices(channel, COMPRESSIONS);
    await channel.flush();
    checksum = await readChoice(channel, CHECKSUMS, "checksum");
    if (options.negotiateCompression) compression = await readChoice(channel, COMPRESSIONS, "compression");
  }
  const seed = await channel.input.decode((from) => from.int32());
  return agreement(protocol, flags, checksum, compression, seed);
}

export interface ServerChoices {
  /** The flags after `-e.` in the arguments; "" where there were none. */
  readonly clientCapabilities: string;
  /** The client wants compression and leaves to us which. */
  readonly negotiateCompression: boolean;
  /** What the client's arguments set, instead of negotiation. */
  readonly checksum: ChecksumName | undefined;
  readonly compression: CompressionName | undefined;
  readonly seed: number | undefined;
}

/** As `rsync --server`, started by somebody's rsync. */
export async function greetAsServer(channel: Channel, choices: ServerChoices): Promise<Agreement> {
  channel.output.int32(NEWEST_PROTOCOL);
  await channel.flush();
  const protocol = agreeOnProtocol(NEWEST_PROTOCOL, await readRemoteProtocol(channel));
  const flags = protocol >= 30 ? serverFlags(choices.clientCapabilities) : 0;
  if (protocol >= 30) channel.output.varint(flags);
  const negotiates = (flags & COMPAT.varintFlags) !== 0;
  let checksum = choices.checksum ?? impliedChecksum(protocol, flags);
  let compression: CompressionName = choices.compression ?? (choices.negotiateCompression ? "zlib" : "none");
  const asksChecksum = negotiates && choices.checksum === undefined;
  const asksCompression = negotiates && choices.compression === undefined && choices.negotiateCompression;
  if (asksChecksum) writeChoices(channel, CHECKSUMS);
  if (asksCompression) writeChoices(channel, COMPRESSIONS);
  await channel.flush();
  if (asksChecksum) checksum = await readChoice(channel, CHECKSUMS, "checksum");
  if (asksCompression) compression = await readChoice(channel, COMPRESSIONS, "compression");
  const seed = choices.seed ?? randomSeed();
  channel.output.int32(seed);
  await channel.flush();
  return agreement(protocol, flags, checksum, compression, seed);
}

function agreement(
  protocol: number,
  flags: number,
  checksum: ChecksumName,
  compression: CompressionName,
  seed: number,
): Agreement {
  return {
    protocol,
    checksum,
    compression,
    seed,
    varintFlags: (flags & COMPAT.varintFlags) !== 0,
    safeFileList: (flags & COMPAT.safeFileList) !== 0 || protocol >= 31,
    sendsIdZeroNames: (flags & COMPAT.idZeroNames) !== 0,
    xattrOptimisation: protocol >= 31 && (flags & COMPAT.avoidXattrOptimisation) === 0,
  };
}

function serverFlags(clientCapabilities: string): number {
  let flags: number = COMPAT.symlinkTimes;
  if (clientCapabilities.includes("f")) flags |= COMPAT.safeFileList;
  if (clientCapabilities.includes("x")) flags |= COMPAT.avoidXattrOptimisation;
  if (clientCapabilities.includes("C")) flags |= COMPAT.seedFix;
  if (clientCapabilities.includes("v")) flags |= COMPAT.varintFlags;
  if (clientCapabilities.includes("u")) flags |= COMPAT.idZeroNames;
  return flags;
}

function impliedChecksum(protocol: number, flags: number): ChecksumName {
  if (protocol < 30) return "md4-seeded";
  return flags & COMPAT.seedFix ? "md5" : "md5-old";
}

/** The first word was none of the protocol: a greeting, or what a forced command says where it refuses. */
export class NotRsyncError extends RsyncProtocolError {}

async function readRemoteProtocol(channel: Channel): Promise<number> {
  const first = await channel.input.decode((from) => from.copy(4));
  const protocol = first.readUInt32LE();
  if (protocol >= 20 && protocol <= HIGHEST_PLAUSIBLE_PROTOCOL) return protocol;
  const text = Buffer.concat([first, channel.input.takeAll()]).toString("latin1");
  const shown = JSON.stringify(text.slice(0, 200).trimEnd());
  throw new NotRsyncError(`the other side does not speak rsync; it said ${shown}`, {
    hint: "the login there needs rsync, a shell that prints nothing (see .bashrc and .profile), and no forced command that refuses",
  });
}

function agreeOnProtocol(ours: number, theirs: number): number {
  const protocol = Math.min(ours, theirs);
  if (protocol < OLDEST_PROTOCOL) {
    throw new RsyncProtocolError(`rsync there speaks protocol ${theirs}; ${OLDEST_PROTOCOL} is the oldest that works`, {
      hint: "it needs rsync 2.6.4 or newer",
    });
  }
  return protocol;
}

function writeChoices(channel: Channel, names: readonly string[]): void {
  channel.output.vstring(Buffer.from(names.join(" ")));
}

/** Ours that is strongest among theirs. */
async function readChoice<Name extends string>(channel: Channel, ours: readonly Name[], what: string): Promise<Name> {
  const list = await channel.input.decode((from) => from.vstring(LONGEST_CHOICE_LIST, `the list of ${what}s`));
  const theirs = new Set(list.toString("latin1").split(" "));
  if (theirs.has("xxhash")) theirs.add("xxh64");
  const chosen = ours.find((name) => theirs.has(name));
  if (chosen !== undefined) return chosen;
  throw new RsyncRefusedError(
    `no ${what} in common: there ${JSON.stringify(list.toString("latin1"))}, here ${JSON.stringify(ours.join(" "))}`,
    RSYNC_EXIT.unsupported,
  );
}

/** Any that is not 0, which would mean "unseeded". */
function randomSeed(): number {
  return (Math.floor(Math.random() * 0x7ffffffe) + 1) | 0;
}
