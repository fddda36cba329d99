import type { RawPath } from "../../../platform/raw-path.ts";
import { ContentToReadAgainError, FileUnreadableError } from "../../source.ts";
import type { StreamedFile } from "../../source.ts";
import { BasisReader } from "./basis.ts";
import type { Basis } from "./basis.ts";
import { NO_SUMS, blockLengthAt, readSumHead, sumHeadFor, writeBlockSum, writeSumHead } from "./block-sums.ts";
import type { SumHead } from "./block-sums.ts";
import { IO_ERROR, MESSAGE } from "./channel.ts";
import type { Channel } from "./channel.ts";
import type { RunningSum, StrongSums } from "./checksums.ts";
import type { Cursor } from "./cursor.ts";
import type { ReceivedFileList } from "./file-list-decoder.ts";
import type { Agreement } from "./handshake.ts";
import { INDEX_DONE, ITEM, IndexReader, IndexWriter, readItemHead } from "./items.ts";
import type { ItemHead } from "./items.ts";
import { RecycledMemory } from "./recycled-memory.ts";
import { RSYNC_EXIT, RsyncFailedError, RsyncProtocolError } from "./rsync-error.ts";
import { openTokenReader } from "./token-reader.ts";
import type { TokenReader, TokenSink } from "./token-reader.ts";
import { isAbbreviated, readAttributeValue, writeAttributeRequest } from "./xattr.ts";
import type { WireAttribute } from "./xattr.ts";

/** How much content may wait to be taken, of all files together. */
const BUFFER_BYTES = 4 * 1024 * 1024;
/** Requests are gathered to about this much before they are sent. */
const REQUEST_BYTES = 16 * 1024;
/** What comes one after another, and matched blocks that lie side by side, are given as one piece of up to this. */
const PIECE_BYTES = 256 * 1024;
/** Of a file that is longer than the list says. */
const UNFORESEEN_BYTES = 32 * 1024;
/** Files of up to this are taken at once, if they have arrived whole. */
const LARGEST_SMALL_FILE_BYTES = 256 * 1024;
/** Beyond this, whoever tells of changes had better wait. */
const MOST_WANTED = 4096;
/** Values of long extended attributes that are kept for the files that share them. */
const MOST_ATTRIBUTE_BYTES = 128 * 1024 * 1024;

const NOTHING = Buffer.alloc(0);
const NO_ATTRIBUTES: readonly WireAttribute[] = [];
const GOOD = { error: undefined };

/** Who takes a content that came wrong asks for it again at once, or not at all. */
const REPEAT_WITHIN_MS = 5 * 60 * 1000;

export interface TransferRequest {
  /** rsync's number of the file. */
  readonly index: number;
  readonly entry: number;
  readonly path: RawPath;
  /** What else the other side may tell its user of the file, as `ITEM` bits; by default as much as a basis shows. */
  readonly changes?: number | undefined;
  /** Opens the last version of what has this path, when the request is about to be sent. */
  readonly previous?: ((path: RawPath) => Promise<Basis | undefined> | undefined) | undefined;
}

/** A file's content on its way. */
export class Transfer implements StreamedFile {
  readonly kind = "stream";
  readonly request: TransferRequest;
  /** Set once a sum did not fit: then the whole file is sent, without a basis. */
  isSecondTry = false;
  readonly #session: ReceiverSession;
  /** What has come and was not taken: one piece for most files. */
  #piece: Buffer | undefined;
  #laterPieces: Buffer[] | undefined;
  #outcome: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #abandoned = false;
  #mustRepeat = false;

  constructor(session: ReceiverSession, request: TransferRequest) {
    this.#session = session;
    this.request = request;
  }

  get isSettled(): boolean {
    return this.#outcome !== undefined;
  }

  /**
   * The content, in order. Throws `FileUnreadableError` where the other side does not give it, and
   * `ContentToReadAgainError` where what came turned out wrong at its end; then it may be called once more.
   */
  async *pieces(): AsyncGenerator<Buffer, void, undefined> {
    if (this.#mustRepeat) {
      this.#mustRepeat = false;
      this.#outcome = undefined;
      this.#session.repeat(this);
    }
    let finished = false;
    try {
      for (;;) {
        const piece = this.#piece;
        this.#piece = this.#laterPieces?.shift();
        if (piece !== undefined) {
          yield this.#session.takeForGood(piece);
        } else if (this.#outcome === undefined) {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        } else {
          finished = true;
          if (this.#outcome.error !== undefined) throw this.#outcome.error;
          return;
        }
      }
    } finally {
      if (!finished) this.abandon();
    }
  }

  /**
   * The content, if it has come, is right and lies in one piece; undefined where `pieces` has to be asked. Valid until the
   * next content is taken.
   */
  whole(): Buffer | undefined {
    const piece = this.#piece;
    if (piece === undefined || (this.#laterPieces !== undefined && this.#laterPieces.length > 0)) return undefined;
    if (this.#outcome === undefined || this.#outcome.error !== undefined) return undefined;
    this.#piece = undefined;
    return this.#session.takeForNow(piece);
  }

  /** Takes content that has come; false where nobody wants it any more. */
  give(bytes: Buffer): boolean {
    if (this.#abandoned) return false;
    if (this.#piece === undefined) this.#piece = bytes;
    else (this.#laterPieces ??= []).push(bytes);
    this.#wakeUp();
    return true;
  }

  settle(error?: unknown): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = error === undefined ? GOOD : { error };
    this.#mustRepeat = error instanceof ContentToReadAgainError;
    this.#wakeUp();
  }

  /** Forgets what has come, because it will come again. */
  reset(): void {
    if (this.#piece !== undefined) this.#session.drop(this.#piece);
    for (const piece of this.#laterPieces ?? []) this.#session.drop(piece);
    this.#piece = undefined;
    this.#laterPieces = undefined;
  }

  abandon(): void {
    this.#abandoned = true;
    this.#session.forgetRepeat(this);
    this.reset();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** Something that was asked for; answers come in the order of asking. */
interface Sent {
  readonly index: number;
  readonly transfer: Transfer | undefined;
  /** Set of attributes whose values are asked for, or come because of an earlier request. */
  readonly attributeSet: number;
  readonly head: SumHead;
  readonly basis: BasisReader | undefined;
  /** It is asked for anew, so what comes is not wanted. */
  superseded: boolean;
  /** Whether its answer is awaited, is being read, or will not come because the sender said so. */
  state: "awaited" | "coming" | "skipped";
}

/** Something that has changed and needs no transfer, for the other side's user. */
export interface Told {
  readonly index: number;
  readonly entry: number;
  /** `ITEM` bits. */
  readonly flags: number;
  /** With `ITEM.nameFollows`: one character a byte. */
  readonly otherName?: string | undefined;
}

type Wanted =
  | { readonly transfer: Transfer }
  | { readonly told: Told }
  | { readonly index: number; readonly attributeSet: number; readonly changes: number };

export interface ReceiverOptions {
  readonly channel: Channel;
  readonly agreement: Agreement;
  readonly sums: StrongSums;
  readonly received: ReceivedFileList;
  /** Whether we started the other side (and it tells its statistics at the end), or it started us. */
  readonly role: "client" | "server";
  /** Nothing is transferred: the other side only tells its user what would be. */
  readonly dryRun?: boolean;
}

export interface SenderStatistics {
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly totalBytes: number;
}

export interface TransferCounts {
  /** Bytes that came as they are, and that were taken from a basis. */
  literalBytes: number;
  matchedBytes: number;
}

/**
 * The receiving half of a session after the list of files: generator and receiver of an rsync in one. Asks for files,
 * with the sums of a basis where there is one, and puts together what comes.
 *
 * The sender answers strictly in the order of the requests, one file after another. So contents must be taken in the
 * order in which they were asked for; as many as one likes may be asked for ahead, and that fills the line.
 */
export class ReceiverSession {
  readonly counts: TransferCounts = { literalBytes: 0, matchedBytes: 0 };
  readonly #options: ReceiverOptions;
  readonly #channel: Channel;
  readonly #tokens: TokenReader;
  readonly #indexReader: IndexReader;
  readonly #indexWriter: IndexWriter;
  readonly #takesSmallFiles: boolean;
  #wanted: Wanted[] = [];
  #sent: Sent[] = [];
  #sentHead = 0;
  #bufferedBytes = 0;
  readonly #smallContents = new RecycledMemory();
  /** What was taken last, and may still be looked at. */
  #lent: Buffer | undefined;
  #roomWanted: (() => void) | undefined;
  #workWanted: (() => void) | undefined;
  #idleWanted: (() => void) | undefined;
  /** Transfers that turned out wrong, and whose takers have not yet asked for them again. */
  readonly #awaitedRepeats = new Set<Transfer>();
  /** A request is being written: it is neither among the wanted any more nor all sent. */
  #isAsking = false;
  #donesLeft = 0;
  #failure: unknown;
  #receiving: Promise<void> | undefined;
  readonly #attributeValues = new Map<number, Map<number, Buffer>>();
  #attributeBytes = 0;
  readonly #requestedSets = new Set<number>();
  /** The latest complaints of the sender, to tell why a file did not come. */
  readonly #complaints: string[] = [];

  constructor(options: ReceiverOptions) {
    const { channel, agreement } = options;
    this.#options = options;
    this.#channel = channel;
    this.#tokens = openTokenReader(channel.input, agreement.compression, agreement.protocol);
    this.#indexReader = new IndexReader(agreement.protocol);
    this.#indexWriter = new IndexWriter(agreement.protocol);
    this.#takesSmallFiles = agreement.compression === "none" && options.dryRun !== true;
    channel.onNoSend = (index) => this.#notSent(index);
    channel.expectsInput = false;
  }

  /** Begins to send requests and to take answers. What fails then fails every transfer. */
  start(): void {
    const failed = (error: unknown): void => this.#fail(error);
    this.#receiving = this.#receive();
    this.#receiving.catch(failed);
    this.#sendRequests().catch(failed);
  }

  /** A complaint of the sender, as it came. */
  complained(text: string): void {
    this.#complaints.push(text);
    if (this.#complaints.length > 64) this.#complaints.shift();
  }

  /** Asks for the content of a file. */
  request(request: TransferRequest): Transfer {
    const transfer = new Transfer(this, request);
    if (this.#failure !== undefined) transfer.settle(this.#failure);
    else this.#want({ transfer });
    return transfer;
  }

  /** Tells the other side of a change. */
  tell(told: Told): void {
    this.#want({ told });
  }

  /** Nothing is transferred, and no attributes may be asked for. */
  get isDryRun(): boolean {
    return this.#options.dryRun === true;
  }

  /** Resolves when not much is waiting to be told or asked for. */
  async ready(): Promise<void> {
    while (this.#failure === undefined && this.#wanted.length > MOST_WANTED) {
      await new Promise<void>((resolve) => (this.#idleWanted = resolve));
    }
  }

  /**
   * Asks for the values of the long attributes in a set of a file, if they were not asked for before. `changes`: what else
   * the other side may tell its user of the file, as `ITEM` bits.
   */
  requestAttributes(index: number, attributeSet: number, changes = 0): void {
    if (this.#requestedSets.has(attributeSet)) return;
    this.#requestedSets.add(attributeSet);
    this.#want({ index, attributeSet, changes });
  }

  /** Whether a file is wanted that has not come yet. */
  get hasOpenTransfers(): boolean {
    const wanted = this.#wanted.flatMap((each) => ("transfer" in each ? [each.transfer] : []));
    const sent = this.#sent.slice(this.#sentHead).flatMap(({ transfer }) => transfer ?? []);
    return this.#awaitedRepeats.size > 0 || [...wanted, ...sent].some((transfer) => !transfer.isSettled);
  }

  /** Path of the file that must come next of those whose content was asked for. */
  get awaitedPath(): RawPath | undefined {
    for (let place = this.#sentHead; place < this.#sent.length; place++) {
      const { transfer, state } = this.#sent[place];
      if (transfer !== undefined && state !== "skipped") return transfer.request.path;
    }
    return undefined;
  }

  get #isAnswered(): boolean {
    return (
      this.#failure === undefined &&
      !this.#isAsking &&
      this.#awaitedRepeats.size === 0 &&
      this.#wanted.length === 0 &&
      this.#sentHead === this.#sent.length
    );
  }

  /** Resolves when all that was asked for has been answered. */
  async answered(): Promise<void> {
    while (!this.#isAnswered) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#idleWanted = resolve));
    }
  }

  /** Gives the values of all long attributes of a set, by number, so that they need not come. */
  learnAttributes(attributeSet: number, values: Map<number, Buffer>): void {
    this.#attributeValues.set(attributeSet, values);
  }

  /** The value of a long attribute, if it has come. */
  attributeValue(attributeSet: number, attribute: WireAttribute): Buffer | undefined {
    return this.#attributeValues.get(attributeSet)?.get(attribute.number);
  }

  /** Ends the session in good order, after everything was taken. Resolves with what the sender counted, if it tells. */
  async finish(): Promise<SenderStatistics | undefined> {
    await this.answered();
    const { protocol } = this.#options.agreement;
    // Three phases: files, files once more, late updates. With protocol 31 a fourth, for late deletions.
    for (let phase = 0; phase < (protocol >= 31 ? 4 : 3); phase++)
      this.#indexWriter.write(this.#channel.output, INDEX_DONE);
    this.#donesLeft = 3;
    this.#channel.expectsInput = true;
    await this.#channel.flush();
    await this.#receiving;
    const statistics = this.#options.role === "client" ? await this.#readStatistics() : undefined;
    return statistics;
  }

  /** The last word, after which the other side ends well. Until then it can still be told that all was in vain. */
  async sayGoodbye(): Promise<void> {
    const { protocol } = this.#options.agreement;
    if (protocol >= 31) {
      const last = await this.#indexReader.read(this.#channel.input);
      if (last !== INDEX_DONE)
        throw new RsyncProtocolError("rsync protocol: something else than the end came at the end");
    }
    this.#indexWriter.write(this.#channel.output, INDEX_DONE);
    await this.#channel.flush();
    this.#tokens.close();
  }

  /** Makes all that still waits fail, with `error` as the reason. The connection stays. */
  close(error: unknown = new RsyncFailedError("the session was closed", RSYNC_EXIT.stream)): void {
    this.#abort(error);
    this.#tokens.close();
  }

  /** Called by transfers: a piece for who may keep it. */
  takeForGood(piece: Buffer): Buffer {
    const kept = this.#smallContents.owns(piece) ? Buffer.from(piece) : piece;
    this.drop(piece);
    return kept;
  }

  /** Called by transfers: a piece that is done with when the next one is taken. */
  takeForNow(piece: Buffer): Buffer {
    this.#noteTaken(piece.length);
    if (this.#lent !== undefined) this.#smallContents.release(this.#lent);
    this.#lent = piece;
    return piece;
  }

  /** Called by transfers: a piece that nobody looks at any more. */
  drop(piece: Buffer): void {
    this.#smallContents.release(piece);
    this.#noteTaken(piece.length);
  }

  #noteTaken(bytes: number): void {
    this.#bufferedBytes -= bytes;
    if (this.#bufferedBytes < BUFFER_BYTES) {
      const wake = this.#roomWanted;
      this.#roomWanted = undefined;
      wake?.();
    }
  }

  /**
   * Called by a transfer whose content must come again, before anything else, because its taker waits for it. What has
   * been asked for after it and has not come whole is dropped when it comes, and asked for once more.
   */
  repeat(transfer: Transfer): void {
    this.forgetRepeat(transfer);
    if (this.#failure !== undefined) return transfer.settle(this.#failure);
    const again: Wanted[] = [{ transfer }];
    for (const sent of this.#sent.slice(this.#sentHead)) {
      if (sent.transfer === undefined || sent.superseded || sent.transfer.isSettled) continue;
      sent.superseded = true;
      sent.transfer.reset();
      again.push({ transfer: sent.transfer });
    }
    this.#wanted = [...again, ...this.#wanted];
    this.#wakeSender();
  }

  /** Called by a transfer that nobody will ask for again. */
  forgetRepeat(transfer: Transfer): void {
    this.#awaitedRepeats.delete(transfer);
  }

  #want(wanted: Wanted): void {
    this.#wanted.push(wanted);
    this.#wakeSender();
  }

  #wakeSender(): void {
    const wake = this.#workWanted;
    this.#workWanted = undefined;
    wake?.();
  }

  #wakeIdle(): void {
    const wake = this.#idleWanted;
    this.#idleWanted = undefined;
    wake?.();
  }

  #fail(error: unknown): void {
    this.#abort(error);
    // A client can still be told why; a server that lies is left at once.
    if (this.#options.role === "server") this.#channel.input.end(error);
    else this.#channel.fail(error);
  }

  #abort(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const sent of this.#sent.slice(this.#sentHead)) sent.transfer?.settle(error);
    for (const wanted of this.#wanted) if ("transfer" in wanted) wanted.transfer.settle(error);
    this.#wanted = [];
    this.#sent = [];
    this.#sentHead = 0;
    this.#wakeSender();
    this.#wakeIdle();
    this.#noteTaken(0);
  }

  // ---- asking

  async #sendRequests(): Promise<void> {
    for (;;) {
      let next = this.#wanted.shift();
      while (next === undefined) {
        if (this.#failure !== undefined) return;
        await this.#channel.flush();
        if (this.#wanted.length === 0) await new Promise<void>((resolve) => (this.#workWanted = resolve));
        next = this.#wanted.shift();
      }
      if (this.#failure !== undefined) return;
      this.#isAsking = true;
      if ("transfer" in next) {
        const busy = this.#sendTransferRequest(next.transfer);
        if (busy !== undefined) await busy;
      } else if ("told" in next) {
        this.#sendTold(next.told);
      } else {
        this.#sendAttributeRequest(next.index, next.attributeSet, next.changes);
      }
      this.#isAsking = false;
      this.#wakeIdle();
      if (this.#channel.output.length > REQUEST_BYTES) await this.#channel.flush();
    }
  }

  #sendAttributeRequest(index: number, attributeSet: number, changes: number): void {
    this.#noteSent(index, attributeSet);
    const { output } = this.#channel;
    this.#indexWriter.write(output, index);
    output.shortInt(changes | ITEM.reportXattrs);
    writeAttributeRequest(output, this.#abbreviated(attributeSet));
  }

  #sendTold({ index, entry, flags, otherName }: Told): void {
    const { dryRun, received } = this.#options;
    const attributeSet = received.list.xattrs.get(entry) - 1;
    const showsAttributes = (flags & ITEM.reportXattrs) !== 0 && attributeSet >= 0;
    const asksAttributes = showsAttributes && dryRun !== true;
    this.#noteSent(index, asksAttributes ? attributeSet : -1);
    const { output } = this.#channel;
    this.#indexWriter.write(output, index);
    output.shortInt(showsAttributes ? flags : flags & ~ITEM.reportXattrs);
    if (otherName !== undefined) output.vstring(Buffer.from(otherName, "latin1"));
    // The values themselves were asked for before.
    if (asksAttributes) writeAttributeRequest(output, []);
  }

  #sendTransferRequest(transfer: Transfer): void | Promise<void> {
    const { previous, path } = transfer.request;
    const opening = transfer.isSecondTry ? undefined : previous?.(path);
    if (opening === undefined) return this.#writeTransferRequest(transfer, undefined);
    // A basis only saves bytes: where it cannot be had, the file is sent whole.
    return opening.catch(() => undefined).then((opened) => this.#writeTransferRequest(transfer, opened));
  }

  #writeTransferRequest(transfer: Transfer, opened: Basis | undefined): void | Promise<void> {
    const { agreement, sums, dryRun } = this.#options;
    const { index, entry, changes = this.#changeFlags(entry, opened) } = transfer.request;
    const head = opened === undefined ? NO_SUMS : sumHeadFor(opened.sizeBytes, agreement.protocol, sums.lengthBytes);
    const basis = opened === undefined || head.count === 0 ? undefined : new BasisReader(opened);
    const attributeSet = this.#options.received.list.xattrs.get(entry) - 1;
    const abbreviated = attributeSet < 0 ? NO_ATTRIBUTES : this.#abbreviated(attributeSet);
    const showsAttributes = (changes & ITEM.reportXattrs) !== 0 && attributeSet >= 0;
    const lacksAttributes = abbreviated.length > 0 && !this.#attributeValues.has(attributeSet);
    const asksAttributes = dryRun !== true && (showsAttributes || lacksAttributes);
    this.#noteSent(index, asksAttributes ? attributeSet : -1, transfer, head, basis);
    const { output } = this.#channel;
    this.#indexWriter.write(output, index);
    const flags = ITEM.transfer | (changes & ~ITEM.reportXattrs);
    output.shortInt(flags | (asksAttributes || showsAttributes ? ITEM.reportXattrs : 0));
    if (asksAttributes) {
      // A set may be asked for only once; where the file that it was asked for with did not come, it comes with the next.
      writeAttributeRequest(output, this.#requestedSets.has(attributeSet) ? [] : abbreviated);
      this.#requestedSets.add(attributeSet);
    }
    if (dryRun === true) return undefined;
    writeSumHead(output, head);
    if (basis === undefined) return this.#sendFence(index);
    return this.#sendBlockSums(head, basis).then(() => this.#sendFence(index));
  }

  /** What the other side may tell its user of a change. */
  #changeFlags(entry: number, basis: Basis | undefined): number {
    if (basis === undefined) return ITEM.isNew;
    const isSameSize = basis.sizeBytes === this.#options.received.list.sizeBytes(entry);
    return ITEM.reportTime | (isSameSize ? 0 : ITEM.reportSize);
  }

  async #sendBlockSums(head: SumHead, basis: BasisReader): Promise<void> {
    let unreadable: Uint8Array | undefined;
    for (let block = 0; block < head.count; block++) {
      const length = blockLengthAt(head, block);
      const bytes: Uint8Array =
        unreadable ??
        (await basis.range(block * head.blockBytes, length).catch(() => {
          // As many sums as were announced must follow. If the sender finds this in the file after all, its content is
          // found to be wrong, and sent whole.
          unreadable = new Uint8Array(length);
          return unreadable;
        }));
      writeBlockSum(this.#channel.output, this.#options.sums, head, bytes);
      if (this.#channel.output.length > REQUEST_BYTES) await this.#channel.flush();
    }
  }

  /**
   * Before protocol 30 a sender does not say when it skips a file. An item without a transfer, which it sends back at
   * once, tells that what was asked before will not come any more.
   */
  #sendFence(index: number): void {
    if (this.#options.agreement.protocol >= 30) return;
    this.#noteSent(index, -1);
    this.#indexWriter.write(this.#channel.output, index);
    this.#channel.output.shortInt(0);
  }

  #noteSent(
    index: number,
    attributeSet: number,
    transfer?: Transfer,
    head: SumHead = NO_SUMS,
    basis?: BasisReader,
  ): void {
    this.#sent.push({ index, attributeSet, transfer, head, basis, superseded: false, state: "awaited" });
    this.#channel.expectsInput = true;
  }

  #abbreviated(attributeSet: number): WireAttribute[] {
    return this.#options.received.xattrs.sets[attributeSet].filter(isAbbreviated);
  }

  // ---- receiving

  async #receive(): Promise<void> {
    for (;;) {
      const small = this.#receiveSmallFile();
      if (small === "taken") {
        if (this.#bufferedBytes >= BUFFER_BYTES) await this.#roomToTake();
        continue;
      }
      if (small === "not all here") {
        await this.#channel.input.more();
        continue;
      }
      const index = await this.#indexReader.read(this.#channel.input);
      if (index === INDEX_DONE) {
        if (this.#donesLeft === 0)
          throw new RsyncProtocolError("rsync protocol: the sender ends a phase before its time");
        if (--this.#donesLeft === 0) return;
        continue;
      }
      await this.#receiveItem(index);
    }
  }

  /**
   * Takes a file that is small, as nearly all are, without the promises that others need, as soon as all of it has
   * arrived. Otherwise nothing is taken.
   */
  #receiveSmallFile(): "taken" | "not all here" | "other" {
    const sent = this.#sent[this.#sentHead];
    if (sent?.transfer === undefined || !this.#takesSmallFiles) return "other";
    if (sent.superseded || sent.basis !== undefined || sent.state !== "awaited") return "other";
    const small = this.#channel.input.tryDecode(this.#decodeSmall);
    if (small === undefined) return "not all here";
    if (small === "other") return "other";
    this.counts.literalBytes += small.content.length;
    this.#giveSmall(sent.transfer, small.content);
    if (small.isRight) sent.transfer.settle();
    else this.#settleAsWrong(sent.transfer);
    this.#advance();
    return "taken";
  }

  #giveSmall(transfer: Transfer, content: Buffer): void {
    if (content.length > 0 && transfer.give(content)) this.#bufferedBytes += content.length;
    else this.#smallContents.release(content);
  }

  readonly #decodeSmall = (from: Cursor): SmallFile | "other" => {
    const start = from.at;
    const small = this.#decodeSmallFile(from, this.#sent[this.#sentHead]);
    if (small === "other") from.at = start;
    return small;
  };

  #decodeSmallFile(from: Cursor, sent: Sent): SmallFile | "other" {
    const { agreement, sums } = this.#options;
    const index = this.#indexReader.decode(from);
    if (index !== sent.index) return "other";
    const { flags } = readItemHead(from);
    if ((flags & ITEM.transfer) === 0 || (flags & ITEM.reportXattrs) !== 0) return "other";
    if (!sameHead(readSumHead(from, agreement.protocol, sums.lengthBytes), sent.head)) return "other";
    const contentAt = from.at;
    let sizeBytes = 0;
    for (let token = from.int32(); token !== 0; token = from.int32()) {
      sizeBytes += token;
      if (token < 0 || sizeBytes > LARGEST_SMALL_FILE_BYTES) return "other";
      from.skip(token);
    }
    const theirsAt = from.at;
    from.skip(sums.lengthBytes);
    // From here on it is taken.
    this.#indexReader.note(index);
    const content = this.#smallContents.allocate(sizeBytes);
    const end = from.at;
    from.at = contentAt;
    for (let at = 0; at < sizeBytes;) at += from.copyLarge(content, at, from.int32());
    from.at = end;
    const sum = sums.startFile();
    sum.update(content);
    const isRight = from.bytes.compare(sum.digest(), 0, sums.lengthBytes, theirsAt, end) === 0;
    return { content, isRight };
  }

  /** The request that an item answers. The sender leaves out what it cannot send, and keeps the order. */
  #answeredBy(index: number, isTransfer: boolean): Sent {
    const answers = (sent: Sent): boolean =>
      sent.state === "awaited" && sent.index === index && (sent.transfer !== undefined) === isTransfer;
    let place = this.#sentHead;
    while (place < this.#sent.length && !answers(this.#sent[place])) place++;
    if (place === this.#sent.length) {
      throw new RsyncProtocolError(`rsync protocol: file ${index} comes without being asked for`);
    }
    while (this.#sentHead < place) {
      const missing = this.#sent[this.#sentHead];
      if (missing.transfer === undefined) {
        throw new RsyncProtocolError(`rsync protocol: file ${index} comes where file ${missing.index} should`);
      }
      if (!missing.superseded) this.#settleAsMissing(missing.transfer);
      this.#sentHead++;
    }
    return this.#sent[place];
  }

  #advance(): void {
    do this.#sentHead++;
    while (this.#sentHead < this.#sent.length && this.#sent[this.#sentHead].state === "skipped");
    if (this.#sentHead === this.#sent.length) {
      this.#sent = [];
      this.#sentHead = 0;
      this.#channel.expectsInput = this.#donesLeft > 0;
      this.#wakeIdle();
    } else if (this.#sentHead > 4096) {
      this.#sent.splice(0, this.#sentHead);
      this.#sentHead = 0;
    }
  }

  async #receiveItem(index: number): Promise<void> {
    const { input } = this.#channel;
    const { agreement, sums, dryRun } = this.#options;
    const item: ItemHead = await input.decode(readItemHead);
    const isTransfer = (item.flags & ITEM.transfer) !== 0;
    const sent = this.#answeredBy(index, isTransfer);
    sent.state = "coming";
    if ((item.flags & ITEM.reportXattrs) !== 0 && dryRun !== true) {
      if (sent.attributeSet < 0)
        throw new RsyncProtocolError("rsync protocol: attributes come without being asked for");
      await this.#receiveAttributeValues(sent.attributeSet);
    }
    if (sent.transfer !== undefined && dryRun !== true) {
      const head = await input.decode((from) => readSumHead(from, agreement.protocol, sums.lengthBytes));
      if (!sameHead(head, sent.head))
        throw new RsyncProtocolError(`rsync protocol: file ${index} has other sums than ours`);
      await this.#receiveContent(sent, sent.transfer);
    } else {
      sent.transfer?.settle();
    }
    this.#advance();
  }

  async #receiveAttributeValues(attributeSet: number): Promise<void> {
    const set = this.#options.received.xattrs.sets[attributeSet];
    const values = this.#attributeValues.get(attributeSet) ?? new Map<number, Buffer>();
    this.#attributeValues.set(attributeSet, values);
    for (let previous = 0; ;) {
      // An object, because `decode` takes undefined for "not yet".
      const { next } = await this.#channel.input.decode((from) => ({ next: readAttributeValue(from, set, previous) }));
      if (next === undefined) return;
      previous = next.attribute.number;
      if (this.#attributeBytes + next.value.length > MOST_ATTRIBUTE_BYTES) continue;
      this.#attributeBytes += next.value.length;
      values.set(next.attribute.number, next.value);
    }
  }

  async #receiveContent(sent: Sent, transfer: Transfer): Promise<void> {
    const { sums } = this.#options;
    const file = sums.startFile();
    const sizeBytes = this.#options.received.list.sizeBytes(transfer.request.entry);
    const give = (bytes: Buffer): void | Promise<void> => this.#give(sent, transfer, bytes);
    const assembly = new FileAssembly({ sent, sizeBytes, sum: file, counts: this.counts, give });
    await this.#tokens.readFile(assembly);
    const busy = assembly.end();
    if (busy !== undefined) await busy;
    const theirs = await this.#channel.input.decode((from) => from.copy(sums.lengthBytes));
    if (sent.superseded) return;
    if (!assembly.isBroken && theirs.equals(file.digest())) transfer.settle();
    else this.#settleAsWrong(transfer);
  }

  #give(sent: Sent, transfer: Transfer, bytes: Buffer): void | Promise<void> {
    if (sent.superseded || bytes.length === 0 || !transfer.give(bytes)) return undefined;
    this.#bufferedBytes += bytes.length;
    return this.#bufferedBytes < BUFFER_BYTES ? undefined : this.#roomToTake();
  }

  #roomToTake(): Promise<void> {
    return new Promise((resolve) => (this.#roomWanted = resolve));
  }

  #settleAsWrong(transfer: Transfer): void {
    const path = pathInMessages(transfer);
    if (transfer.isSecondTry) {
      transfer.settle(new FileUnreadableError("it could not be read to its end, or was changed while it was sent"));
    } else {
      transfer.isSecondTry = true;
      this.#awaitedRepeats.add(transfer);
      setTimeout(() => {
        this.forgetRepeat(transfer);
        this.#wakeIdle();
      }, REPEAT_WITHIN_MS).unref();
      transfer.settle(new ContentToReadAgainError(`${path} came with a sum that does not fit`));
    }
  }

  #notSent(index: number): void {
    const place = this.#sent.findIndex(
      (each, at) =>
        at >= this.#sentHead && each.state === "awaited" && each.index === index && each.transfer !== undefined,
    );
    if (place < 0) return;
    const sent = this.#sent[place];
    sent.state = "skipped";
    if (sent.transfer !== undefined && !sent.superseded) this.#settleAsMissing(sent.transfer);
    if (place === this.#sentHead) this.#advance();
  }

  #settleAsMissing(transfer: Transfer): void {
    const path = pathInMessages(transfer);
    const complaint = this.#complaints.findLast((text) => text.includes(`${path}"`));
    transfer.settle(new FileUnreadableError(complaint ?? "it was not sent: it went away, or cannot be read there"));
  }

  async #readStatistics(): Promise<SenderStatistics> {
    const { protocol } = this.#options.agreement;
    return this.#channel.input.decode((from) => {
      const number = (): number => (protocol >= 30 ? from.varlong(3) : from.longInt());
      const [readBytes, writtenBytes, totalBytes] = [number(), number(), number()];
      // How long the list took to build and to send.
      number();
      number();
      return { readBytes, writtenBytes, totalBytes };
    });
  }
}

/** How the file is named in messages of the other side. */
function pathInMessages({ request }: Transfer): string {
  return Buffer.from(request.path, "latin1").toString("utf8");
}

interface SmallFile {
  readonly content: Buffer;
  readonly isRight: boolean;
}

function sameHead(a: SumHead, b: SumHead): boolean {
  return (
    a.count === b.count &&
    a.blockBytes === b.blockBytes &&
    a.strongBytes === b.strongBytes &&
    a.remainderBytes === b.remainderBytes
  );
}

interface AssemblyParts {
  readonly sent: Sent;
  /** As the list has it: only a guess, as the file may have changed since. */
  readonly sizeBytes: number;
  readonly sum: RunningSum;
  readonly counts: TransferCounts;
  readonly give: (bytes: Buffer) => void | Promise<void>;
}

/**
 * Puts a file together, and sums it up. What is sent is gathered, and matched blocks that lie side by side in the basis are
 * read as one: each piece costs more than what is in it.
 */
class FileAssembly implements TokenSink {
  readonly #parts: AssemblyParts;
  /** A part of the basis could not be read. */
  isBroken = false;
  #gathered: Buffer = NOTHING;
  #gatheredBytes = 0;
  /** All that was put together, as far as it was gathered. */
  #doneBytes = 0;
  #runStart = 0;
  #runBytes = 0;

  constructor(parts: AssemblyParts) {
    this.#parts = parts;
  }

  literal(bytes: Buffer): void | Promise<void> {
    const busy = this.#flushRun();
    if (busy === undefined) return this.#take(bytes);
    const kept = Buffer.from(bytes);
    return busy.then(() => this.#take(kept));
  }

  #take(bytes: Buffer): void | Promise<void> {
    this.#parts.counts.literalBytes += bytes.length;
    this.#parts.sum.update(bytes);
    let busy: void | Promise<void> = undefined;
    for (let at = 0; at < bytes.length;) {
      if (this.#gatheredBytes === this.#gathered.length) busy = this.#startPiece() ?? busy;
      const copied = bytes.copy(this.#gathered, this.#gatheredBytes, at);
      this.#gatheredBytes += copied;
      this.#doneBytes += copied;
      at += copied;
    }
    return busy;
  }

  #startPiece(): void | Promise<void> {
    const busy = this.#flushGathered();
    const expected = this.#parts.sizeBytes - this.#doneBytes;
    this.#gathered = Buffer.allocUnsafeSlow(expected > 0 ? Math.min(expected, PIECE_BYTES) : UNFORESEEN_BYTES);
    return busy;
  }

  #flushGathered(): void | Promise<void> {
    const gathered = this.#gathered.subarray(0, this.#gatheredBytes);
    this.#gathered = NOTHING;
    this.#gatheredBytes = 0;
    return gathered.length === 0 ? undefined : this.#parts.give(gathered);
  }

  block(index: number): void | Promise<void> {
    const { head, basis } = this.#parts.sent;
    if (basis === undefined || index >= head.count) {
      throw new RsyncProtocolError(`rsync protocol: there is no block ${index} of the file that is updated`);
    }
    const start = index * head.blockBytes;
    const length = blockLengthAt(head, index);
    this.#parts.counts.matchedBytes += length;
    this.#doneBytes += length;
    const isNext = this.#runBytes > 0 && start === this.#runStart + this.#runBytes;
    if (isNext && this.#runBytes + length <= PIECE_BYTES) {
      this.#runBytes += length;
      return undefined;
    }
    const busy = this.#runBytes > 0 ? this.#flushRun() : this.#flushGathered();
    this.#runStart = start;
    this.#runBytes = length;
    return busy;
  }

  async blockContent(index: number): Promise<Uint8Array> {
    const { head, basis } = this.#parts.sent;
    if (basis === undefined || index >= head.count)
      throw new RsyncProtocolError(`rsync protocol: there is no block ${index}`);
    return basis.range(index * head.blockBytes, blockLengthAt(head, index));
  }

  /** Gives what is left. */
  end(): void | Promise<void> {
    return this.#runBytes > 0 ? this.#flushRun() : this.#flushGathered();
  }

  #flushRun(): void | Promise<void> {
    const { sent, sum, give } = this.#parts;
    const { basis } = sent;
    if (this.#runBytes === 0 || basis === undefined) return undefined;
    const [start, length] = [this.#runStart, this.#runBytes];
    this.#runBytes = 0;
    return basis.range(start, length).then(
      (bytes) => {
        sum.update(bytes);
        return give(Buffer.from(bytes));
      },
      () => {
        this.isBroken = true;
      },
    );
  }
}

/** Whether a text from the other side tells of something that went wrong, and not just of what it does. */
export function isComplaint(kind: number): boolean {
  return (
    kind === MESSAGE.transferError || kind === MESSAGE.error || kind === MESSAGE.warning || kind === MESSAGE.utf8Error
  );
}

/** What `IO_ERROR` bits mean, for a person. */
export function ioErrorWords(ioErrors: number): string {
  const words: string[] = [];
  if (ioErrors & IO_ERROR.general) words.push("some files could not be read");
  if (ioErrors & IO_ERROR.vanished) words.push("some files vanished");
  if (ioErrors & IO_ERROR.deleteLimit) words.push("the limit of deletions was reached");
  return words.join(", ");
}
