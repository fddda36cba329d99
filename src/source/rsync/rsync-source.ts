import type { HoldfastError } from "../../errors.ts";
import { boundMalloc } from "../../platform/bound-heap.ts";
import { displayPath, type RawPath } from "../../platform/raw-path.ts";
import { allExcluded } from "../all-excluded.ts";
import type { ReportProblem, Source } from "../source.ts";
import { problemFromComplaint } from "./complaints.ts";
import { folderDigests } from "./folder-digests.ts";
import { listedSource } from "./listed-source.ts";
import type { Basis } from "./protocol/basis.ts";
import { Channel } from "./protocol/channel.ts";
import { openStrongSums } from "./protocol/checksums.ts";
import { receiveFileList } from "./protocol/file-list-decoder.ts";
import type { FileListForm } from "./protocol/file-list-decoder.ts";
import { hasMixedTops, orderFiles } from "./protocol/file-order.ts";
import { greetAsClient, NotRsyncError } from "./protocol/handshake.ts";
import type { Agreement } from "./protocol/handshake.ts";
import { ReceiverSession, ioErrorWords, isComplaint } from "./protocol/receiver.ts";
import { RSYNC_EXIT, RsyncFailedError, RsyncProtocolError, rsyncExitWords } from "./protocol/rsync-error.ts";
import type { PullProfile } from "./remote-command.ts";
import type { RemoteProcess } from "./remote-process.ts";
import { startPull } from "./start-pull.ts";
import type { PullStart } from "./start-pull.ts";

export interface RsyncSourceOptions extends PullStart {
  /** rsync's filter rules, first match wins: `- *.o`, `+ /home/ann/`. What they exclude is not even listed. */
  readonly filters?: readonly string[];
  /** By default "full" is tried, and "plain" where that is refused. */
  readonly profile?: PullProfile;
  /** The other rsync, where it was started already, with these options and the profile that is tried first. */
  readonly started?: RemoteProcess | undefined;
  /** For tests of older protocols. */
  readonly newestProtocol?: number;
  /** Whatever else, if it is another than last time, makes the same list to be saved in another way. */
  readonly circumstances?: string;
  /** How long the login may take, until the other rsync says its first word. */
  readonly greetingMs?: number | undefined;
  readonly silenceMs?: number;
  readonly mostFiles?: number;
  /** The last version of a file at a path of the snapshot, so that only what has changed in it must travel. */
  readonly previous?: (path: RawPath) => Promise<Basis | undefined> | undefined;
  /** Ends the opening: nobody wants the source any more. Once it is open, it is closed instead. */
  readonly signal?: AbortSignal | undefined;
  readonly onProblem: ReportProblem;
  /** Lines that the other side means for a person and that are no complaints. */
  readonly onNote?: (text: string) => void;
}

export interface RsyncSource extends Source {
  readonly agreement: Agreement;
  /** With what the other side was asked. */
  readonly profile: PullProfile;
  readonly traffic: () => RsyncTraffic;
}

export interface RsyncTraffic {
  /** Bytes that came, and that we sent. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** Of files' contents: as they are, and taken from their last version. */
  readonly literalBytes: number;
  readonly matchedBytes: number;
}

/** Somebody may be looking for a password. */
const GREETING_MS = 5 * 60 * 1000;
/** Of what is excluded, it says nothing while it makes its list. */
const SILENCE_MS = 30 * 60 * 1000;
/** Later there is no long silence but where a file cannot be read; a disc may have to start, or a server of files to restart. */
const SILENCE_IN_FILE_MS = 10 * 60 * 1000;
const KEEP_ALIVE_MS = 15 * 1000;
const MOST_FILES = 20_000_000;
/** How long the other side may take to say goodbye. */
const GOODBYE_MS = 10 * 1000;

/**
 * What a host shows that has nothing but rsync and sshd. Starts `rsync --server --sender` there, and resolves when it
 * has sent its list of files. Throws `RsyncFailedError` where it cannot be reached or refuses, `RsyncProtocolError` where
 * it lies.
 */
export async function openRsyncSource(options: RsyncSourceOptions): Promise<RsyncSource> {
  const { profile, started } = options;
  if (profile !== undefined) return pull(options, profile, started);
  try {
    return await pull(options, "full", started);
  } catch (error) {
    const isRefused = error instanceof RefusedAtStart || error instanceof NotRsyncError;
    if (!isRefused || options.signal?.aborted === true) throw error;
    try {
      return await pull(options, "plain");
    } catch {
      throw error;
    }
  }
}

/** The other side ended before it said a word of the protocol: a forced command that wants another one, perhaps. */
class RefusedAtStart extends RsyncFailedError {}

function pull(options: RsyncSourceOptions, profile: PullProfile, started?: RemoteProcess): Promise<RsyncSource> {
  return openSourceOver(started ?? startPull(options, profile), options, profile);
}

/** As `openRsyncSource`, over a connection on which the other rsync has been started already. */
export async function openSourceOver(
  remote: RemoteProcess,
  options: RsyncSourceOptions,
  profile: PullProfile,
): Promise<RsyncSource> {
  const listedMs = Date.now();
  // A list of a million files, and what is made of it, would leave holes in malloc's memory; here it costs no time.
  boundMalloc();
  const channel = new Channel(remote.transport);
  channel.closedError = () => closedEarly(options, remote);
  channel.watch(options.greetingMs ?? GREETING_MS, KEEP_ALIVE_MS, (seconds) => notGreeted(options, remote, seconds));
  const giveUp = (): void => {
    channel.close();
    remote.kill();
  };
  options.signal?.addEventListener("abort", giveUp);
  try {
    return await openSession(options, profile, remote, channel, listedMs);
  } catch (error) {
    // Before the remote shell is killed: how it ended by itself tells most.
    const explained = await explain(error, options, remote, channel);
    channel.close();
    remote.kill();
    throw explained;
  } finally {
    options.signal?.removeEventListener("abort", giveUp);
  }
}

async function openSession(
  options: RsyncSourceOptions,
  profile: PullProfile,
  remote: RemoteProcess,
  channel: Channel,
  listedMs: number,
): Promise<RsyncSource> {
  const { onProblem } = options;
  const agreement = await greetAsClient(channel, {
    newestProtocol: options.newestProtocol,
    negotiateCompression: (options.compress ?? false) && profile === "full",
  });
  channel.watch(options.silenceMs ?? SILENCE_MS, KEEP_ALIVE_MS);
  const sums = await openStrongSums(agreement.checksum, agreement.seed);
  const said = hearComplaints(options, remote, channel);
  channel.multiplexInput();
  if (agreement.protocol >= 30) channel.multiplexOutput();
  sendFilters(channel, options.filters ?? []);
  await channel.flush();
  const digests = folderDigests(JSON.stringify([profile, options.circumstances ?? ""]), listedMs);
  const form = listForm(agreement, profile);
  const received = await receiveFileList(channel.input, form, options.mostFiles ?? MOST_FILES, digests.takeIn);
  // What it complains of shows in the list; the words come on a way of their own.
  if ((received.ioErrors | channel.ioErrors) !== 0 || received.list.count === 0) await remote.hearOut();
  if (received.list.count === 0) throw said.anything ? nothingThere(options) : nothingListed(options);
  if ((received.ioErrors | channel.ioErrors) !== 0 && said.complaints === 0) {
    onProblem({
      path: "" as RawPath,
      during: "list",
      error: new Error(ioErrorWords(received.ioErrors | channel.ioErrors)),
    });
  }
  const order = orderFiles(received.list);
  // We ask for absolute paths, or for relative ones; a list that has both would name two things alike.
  if (hasMixedTops(received.list, order)) {
    throw new RsyncProtocolError("the other side lists absolute and relative paths");
  }
  const session = new ReceiverSession({ channel, agreement, sums, received, role: "client" });
  said.session = session;
  session.start();
  const listed = listedSource({ received, order, session, onProblem, previous: options.previous, listedMs, digests });
  channel.watch(options.silenceMs ?? SILENCE_IN_FILE_MS, KEEP_ALIVE_MS, (seconds) =>
    silentInFile(options, session.awaitedPath, seconds),
  );
  let goodbye: Promise<number | undefined> | undefined;
  const sayGoodbye = (): Promise<number | undefined> => (goodbye ??= within(GOODBYE_MS, end(session, channel, remote)));
  return {
    ...listed,
    agreement,
    profile,
    traffic: () => ({ receivedBytes: channel.receivedBytes, sentBytes: channel.sentBytes, ...session.counts }),
    async finish() {
      const exitCode = await sayGoodbye();
      const isPartial = exitCode === RSYNC_EXIT.partial || exitCode === RSYNC_EXIT.vanished;
      if (!isPartial || said.anything) return;
      onProblem({ path: "" as RawPath, during: "read", error: new Error(rsyncExitWords(exitCode)) });
    },
    async close() {
      if (!session.hasOpenTransfers) await sayGoodbye();
      said.isOver = true;
      session.close();
      channel.close();
      remote.kill();
      await remote.exited;
    },
  };
}

const MOST_COMPLAINTS = 10_000;

interface Heard {
  session: ReceiverSession | undefined;
  /** How many complaints were reported as problems. */
  complaints: number;
  /** Whether there was any complaint, reported or kept. */
  anything: boolean;
  /** Nobody listens any more. */
  isOver: boolean;
}

/**
 * Reports what rsync complains of, over the protocol or on its standard error. Only what it says of a file that it was to
 * send is kept for the moment when that file is missed.
 */
function hearComplaints(options: RsyncSourceOptions, remote: RemoteProcess, channel: Channel): Heard {
  const heard: Heard = { session: undefined, complaints: 0, anything: false, isOver: false };
  const complain = (line: string): void => {
    if (heard.isOver) return;
    heard.anything = true;
    if (heard.session !== undefined && isAboutSending(line)) heard.session.complained(line.trim());
    else if (heard.complaints++ < MOST_COMPLAINTS) options.onProblem(problemFromComplaint(line));
  };
  remote.onComplaint = (line) => {
    if (/^(?:rsync: |file has vanished: |WARNING: |cannot delete )/.test(line)) complain(line);
    else if (line.trim() !== "") options.onNote?.(line);
  };
  channel.onText = (kind, bytes) => {
    for (const line of bytes.toString("utf8").split("\n")) {
      if (line.trim() === "") continue;
      if (isComplaint(kind)) complain(line);
      else options.onNote?.(line);
    }
  };
  return heard;
}

const isAboutSending = (line: string): boolean => /send_files|file has vanished|read errors mapping|xattr/.test(line);

function listForm(agreement: Agreement, profile: PullProfile): FileListForm {
  const full = profile === "full";
  return {
    protocol: agreement.protocol,
    varintFlags: agreement.varintFlags,
    safeFileList: agreement.safeFileList,
    sendsIdZeroNames: agreement.sendsIdZeroNames,
    numericIds: !full,
    relative: true,
    owners: true,
    groups: true,
    devices: true,
    specials: true,
    symlinks: true,
    hardLinks: full,
    acls: full,
    xattrs: full,
    accessTimes: false,
    creationTimes: false,
    checksumBytes: 0,
  };
}

function sendFilters(channel: Channel, filters: readonly string[]): void {
  for (const rule of filters) {
    const bytes = Buffer.from(rule);
    channel.output.int32(bytes.length);
    channel.output.raw(bytes);
  }
  channel.output.int32(0);
}

/** Of what is not there rsync complains; of what is to be left out it says nothing. */
function nothingListed(options: RsyncSourceOptions): HoldfastError {
  return (options.filters ?? []).length > 0 ? allExcluded() : nothingThere(options);
}

function nothingThere({ paths }: RsyncSourceOptions): RsyncFailedError {
  const hasWildcard = paths.some((path) => /[*?[]/.test(path));
  return new RsyncFailedError(`there is nothing to save at ${paths.join(", ")}`, RSYNC_EXIT.partial, {
    hint: hasWildcard
      ? "Wildcards do not stand for anything here: name the folder, and what in it to leave out with --exclude."
      : "Check the paths for typing errors, and whether the login may read them.",
  });
}

/**
 * Ends the session in good order. Resolves with rsync's exit status when all that it said has been heard; undefined where
 * the connection breaks.
 */
async function end(session: ReceiverSession, channel: Channel, remote: RemoteProcess): Promise<number | undefined> {
  try {
    await session.finish();
    await session.sayGoodbye();
    await channel.end();
  } catch {
    return undefined;
  }
  return remote.exited;
}

/** What a promise gives; undefined where it takes longer. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  const first = await Promise.race([promise, late]);
  clearTimeout(timer);
  return first;
}

/** An error of the connection, with what the other side and ssh have to say about it. */
async function explain(
  error: unknown,
  options: RsyncSourceOptions,
  remote: RemoteProcess,
  channel: Channel,
): Promise<unknown> {
  if (!(error instanceof RsyncFailedError) || error.rsyncExitCode !== RSYNC_EXIT.stream) return error;
  const exitCode = (await within(GOODBYE_MS, remote.exited)) ?? 0;
  const startError = remote.startError();
  if (startError !== undefined) {
    return new RsyncFailedError(startError, exitCode, {
      cause: error,
      hint: "the remote shell is ssh, or what --rsh names",
    });
  }
  const where = placeOf(options);
  const said = remote.complaints();
  const last = lastWords(remote);
  if (exitCode === 255 && options.remote !== undefined) {
    const hint = loginHint(said);
    return new RsyncFailedError(`cannot log in to ${where} with ssh${last}`, exitCode, { cause: error, hint });
  }
  if (exitCode === 127) {
    return new RsyncFailedError(`rsync could not be started on ${where}${last}`, exitCode, {
      cause: error,
      hint: /\brsync: /.test(said) ? "install rsync there" : "is everything there that the key's forced command names?",
    });
  }
  // Less than the number of the protocol: "no", and not a word more.
  const isAtStart = channel.receivedBytes < 4;
  const words = exitCode === 0 ? closedWords(where) : `rsync on ${where} ended: ${rsyncExitWords(exitCode)}`;
  // An old rsync tells its protocol before it refuses what that lacks.
  const Kind = isAtStart || exitCode === RSYNC_EXIT.protocol ? RefusedAtStart : RsyncFailedError;
  return new Kind(words + last, exitCode === 0 ? RSYNC_EXIT.stream : exitCode, {
    cause: error,
    hint: isAtStart ? "the login there must run what it is told, or its forced command must allow it" : GOES_ON,
  });
}

const GOES_ON = "run it again: what has arrived is not sent again";

const closedWords = (where: string): string => `the connection to ${where} was closed before the end`;

function closedEarly(options: RsyncSourceOptions, remote: RemoteProcess): RsyncFailedError {
  return new RsyncFailedError(closedWords(placeOf(options)) + lastWords(remote), RSYNC_EXIT.stream, { hint: GOES_ON });
}

function notGreeted(options: RsyncSourceOptions, remote: RemoteProcess, seconds: number): RsyncFailedError {
  const message = `${placeOf(options)} let no rsync speak within ${seconds} s${lastWords(remote)}`;
  return new RsyncFailedError(message, RSYNC_EXIT.timeout, {
    hint: "log in there with ssh by hand and see what it waits for: a question, a profile or a forced command that hangs",
  });
}

/** Which file hangs we can only guess: what it has said of small ones before that, rsync may have kept back. */
function silentInFile(options: RsyncSourceOptions, path: RawPath | undefined, seconds: number): RsyncFailedError {
  const what = path === undefined ? "" : ` when it was to send /${displayPath(path)}`;
  return new RsyncFailedError(`rsync on ${placeOf(options)} was silent for ${seconds} s${what}`, RSYNC_EXIT.timeout, {
    hint:
      path === undefined
        ? GOES_ON
        : `reading this file, or one soon after it, may hang: a pipe, or a mount whose server is gone; ${GOES_ON}`,
  });
}

function placeOf({ remote }: RsyncSourceOptions): string {
  return remote?.login ?? "here";
}

/** The last that the other side and ssh said beside the protocol, to stand at the end of a message. */
function lastWords(remote: RemoteProcess): string {
  const lines = remote.complaints().split(/[\r\n]+/);
  const said = lines.filter((line) => line.trim() !== "").slice(-3);
  return said.length === 0 ? "" : `: ${said.join("; ")}`;
}

/** What ssh says, and what to do about it. */
const LOGIN_HINTS: readonly [said: RegExp, hint: string][] = [
  [
    /IDENTIFICATION HAS CHANGED/,
    'somebody may be in between; if it was installed anew: "holdfast host edit NAME --new-host-key" on a server that pulls, else take its old key out of known_hosts',
  ],
  [/Host key verification failed|host key is known/, "log in once by hand with ssh, and look at the key that it shows"],
  [/Permission denied/, "the public key must stand in authorized_keys of that login"],
  [/Could not resolve|Name or service not known/, "check the name for typing errors"],
  [/refused|timed out|No route|unreachable/, "is it up, and does an sshd listen on that port?"],
];

function loginHint(said: string): string {
  return LOGIN_HINTS.find(([pattern]) => pattern.test(said))?.[1] ?? "try to log in with ssh by hand";
}
