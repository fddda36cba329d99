import type { ExtendedAttribute } from "../../../format/tree.ts";
import type { RawPath } from "../../../platform/raw-path.ts";
import { receiveBlockSums, sendDelta } from "./delta.ts";
import { writeSumHead } from "./block-sums.ts";
import { IO_ERROR, MESSAGE } from "./channel.ts";
import type { Channel } from "./channel.ts";
import type { StrongSums } from "./checksums.ts";
import { FileListEncoder } from "./file-list-encoder.ts";
import type { OfferedFile } from "./file-list-encoder.ts";
import type { FileListForm } from "./file-list-decoder.ts";
import { isRegular } from "./file-list.ts";
import { indexEntries, orderFiles } from "./file-order.ts";
import type { Agreement } from "./handshake.ts";
import {
  INDEX_DELETE_STATISTICS,
  INDEX_DONE,
  ITEM,
  IndexReader,
  IndexWriter,
  readItemHead,
  writeItemHead,
} from "./items.ts";
import { RsyncProtocolError } from "./rsync-error.ts";
import { openTokenWriter } from "./token-writer.ts";
import type { TokenWriter } from "./token-writer.ts";
import { readAttributeRequest, writeAttributeValues } from "./xattr.ts";

/** What a receiver may ask for of the files that were offered. */
export interface OfferedContent {
  /** A file's content, in order. */
  pieces(path: RawPath): AsyncIterable<Uint8Array>;
  xattrs(path: RawPath): Promise<readonly ExtendedAttribute[]>;
}

export interface SenderOptions {
  readonly channel: Channel;
  readonly agreement: Agreement;
  readonly form: FileListForm;
  readonly sums: StrongSums;
  readonly compressLevel: number | undefined;
  readonly dryRun: boolean;
  readonly offered: AsyncIterable<OfferedFile>;
  readonly content: OfferedContent;
  /** Whether something that was asked for is not among `offered`; known when that has ended. */
  readonly isIncomplete: () => boolean;
  /** Names of owners, by number, of all that was offered; complete when `offered` has ended. */
  readonly users: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, string>;
}

export interface SendResult {
  readonly files: number;
  readonly literalBytes: number;
  readonly matchedBytes: number;
  /** Files that could not be given. */
  readonly missed: number;
}

const LIST_BYTES = 32 * 1024;

/** The sending half of a session, as the server of a client that fetches. Resolves when the client has said goodbye. */
export async function sendFiles(options: SenderOptions): Promise<SendResult> {
  const { channel } = options;
  const encoder = new FileListEncoder(options.form);
  let totalBytes = 0;
  let isIncomplete = false;
  for await (const offered of options.offered) {
    if (!encoder.write(channel.output, offered)) {
      channel.sendText(MESSAGE.transferError, `rsync: path is too long for rsync: ${shown(offered.path)}\n`);
      isIncomplete = true;
      continue;
    }
    if (isRegular(offered.file.mode)) totalBytes += offered.file.sizeBytes;
    if (channel.output.length >= LIST_BYTES) await channel.flush();
  }
  // A receiver deletes nothing at its end on the word of a list that lacks something.
  const ioErrors = isIncomplete || options.isIncomplete() ? IO_ERROR.general : 0;
  encoder.writeEnd(channel.output, options.users, options.groups, ioErrors);
  // This one has no other way for it, where its client is old.
  if (ioErrors !== 0 && options.agreement.protocol === 30) channel.sendNumber(MESSAGE.ioError, ioErrors);
  await channel.flush();
  // With an empty list an rsync's client goes away at once.
  if (encoder.list.count === 0) return { files: 0, literalBytes: 0, matchedBytes: 0, missed: 0 };
  return new SendingSession(options, encoder).run(totalBytes);
}

const shown = (path: RawPath): string => Buffer.from(path, "latin1").toString("utf8");

class SendingSession {
  readonly #options: SenderOptions;
  readonly #encoder: FileListEncoder;
  readonly #entries: Int32Array;
  readonly #reader: IndexReader;
  readonly #writer: IndexWriter;
  readonly #tokens: TokenWriter;
  readonly #result = { files: 0, literalBytes: 0, matchedBytes: 0, missed: 0 };
  #ioErrors = 0;

  constructor(options: SenderOptions, encoder: FileListEncoder) {
    const { agreement, channel } = options;
    this.#options = options;
    this.#encoder = encoder;
    this.#entries = indexEntries(encoder.list, orderFiles(encoder.list));
    this.#reader = new IndexReader(agreement.protocol);
    this.#writer = new IndexWriter(agreement.protocol);
    this.#tokens = openTokenWriter(channel, agreement.compression, options.compressLevel, agreement.protocol);
  }

  async run(totalBytes: number): Promise<SendResult> {
    const { channel, agreement } = this.#options;
    // Files, files once more, late updates.
    for (let phase = 0; phase < 3;) {
      // Nothing may wait here while the other side waits for it.
      if (!channel.input.hasArrived) await channel.flush();
      const index = await this.#reader.read(channel.input);
      if (index === INDEX_DONE) {
        phase++;
        if (phase < 3) this.#writer.write(channel.output, INDEX_DONE);
      } else if (index === INDEX_DELETE_STATISTICS) {
        await this.#skipDeleteStatistics();
      } else {
        await this.#serve(index, phase);
      }
    }
    if (this.#ioErrors !== 0 && agreement.protocol >= 30) channel.sendNumber(MESSAGE.ioError, this.#ioErrors);
    this.#writer.write(channel.output, INDEX_DONE);
    this.#writeStatistics(totalBytes);
    await channel.flush();
    await this.#awaitGoodbye();
    this.#tokens.close();
    return this.#result;
  }

  async #serve(index: number, phase: number): Promise<void> {
    const { channel, agreement, dryRun } = this.#options;
    const { list, xattrSets } = this.#encoder;
    // How a client before protocol 30 keeps the connection alive.
    if (agreement.protocol < 30 && index === this.#entries.length)
      return void (await channel.input.decode(readItemHead));
    if (index < 0 || index >= this.#entries.length) {
      throw new RsyncProtocolError(`rsync protocol: there is no file ${index}`);
    }
    const head = await channel.input.decode(readItemHead);
    const entry = this.#entries[index];
    const set = this.#options.form.xattrs ? xattrSets[list.xattrs.get(entry) - 1] : undefined;
    const asksAttributes = set !== undefined && (head.flags & ITEM.reportXattrs) !== 0 && !dryRun;
    const skipsAttributes =
      agreement.xattrOptimisation && (head.flags & ITEM.nameFollows) !== 0 && (head.flags & ITEM.localChange) !== 0;
    const asked =
      asksAttributes && !skipsAttributes
        ? await channel.input.decode((from) => readAttributeRequest(from, set))
        : undefined;
    const answer = async (): Promise<void> => {
      this.#writer.write(channel.output, index);
      writeItemHead(channel.output, head);
      if (asked !== undefined) await this.#sendAttributes(entry, asked);
    };
    if (!(head.flags & ITEM.transfer)) return answer();
    if (phase === 2 || !isRegular(list.mode(entry))) {
      throw new RsyncProtocolError(`rsync protocol: the content of file ${index} cannot be asked for`);
    }
    this.#result.files++;
    if (dryRun) return answer();
    await this.#sendContent(index, entry, answer);
  }

  #pathOf(entry: number): RawPath {
    const { list } = this.#encoder;
    const folder = list.directoryPath(list.parentOf(entry));
    const name = list.name(entry);
    return (list.parentOf(entry) === 0 ? name : `${folder}/${name}`) as RawPath;
  }

  async #sendContent(index: number, entry: number, answer: () => Promise<void>): Promise<void> {
    const { channel, agreement, sums, content } = this.#options;
    const blocks = await receiveBlockSums(channel.input, agreement.protocol, sums.lengthBytes);
    const path = this.#pathOf(entry);
    const pieces = await firstPiece(content.pieces(path)).catch((error: unknown) => {
      this.#missed(index, path, error);
      return undefined;
    });
    if (pieces === undefined) return;
    await answer();
    writeSumHead(channel.output, blocks.head);
    const sum = sums.startFile();
    let digest: Uint8Array;
    const reading = { failed: false };
    const counts = await sendDelta(this.#guarded(pieces, path, reading), blocks, sums, sum, this.#tokens);
    digest = sum.digest();
    // A wrong sum tells the other side that what it got is not the file.
    if (reading.failed) digest = digest.map((byte) => byte ^ 0xff);
    channel.output.raw(digest.subarray(0, sums.lengthBytes));
    this.#result.literalBytes += counts.literalBytes;
    this.#result.matchedBytes += counts.matchedBytes;
  }

  /** Ends a file's content where it cannot be read on, because the token stream must end well. */
  async *#guarded(
    pieces: AsyncIterable<Uint8Array>,
    path: RawPath,
    reading: { failed: boolean },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* pieces;
    } catch (error) {
      reading.failed = true;
      this.#complain(path, error);
      this.#result.missed++;
    }
  }

  #missed(index: number, path: RawPath, error: unknown): void {
    const { channel, agreement } = this.#options;
    this.#result.missed++;
    this.#complain(path, error);
    if (agreement.protocol >= 30) channel.sendNumber(MESSAGE.noSend, index);
  }

  #complain(path: RawPath, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#ioErrors |= IO_ERROR.general;
    this.#options.channel.sendText(MESSAGE.transferError, `holdfast: cannot read "${shown(path)}": ${reason}\n`);
  }

  async #sendAttributes(entry: number, asked: ReturnType<typeof readAttributeRequest>): Promise<void> {
    const path = this.#pathOf(entry);
    const current = await this.#options.content.xattrs(path).catch((error: unknown) => {
      this.#complain(path, error);
      return [] as readonly ExtendedAttribute[];
    });
    const values = asked.map((attribute) => ({
      attribute,
      value: current.find(({ name }) => name === attribute.name)?.value ?? new Uint8Array(0),
    }));
    writeAttributeValues(this.#options.channel.output, values);
  }

  async #skipDeleteStatistics(): Promise<void> {
    for (let number = 0; number < 5; number++) await this.#options.channel.input.decode((from) => from.varint());
  }

  #writeStatistics(totalBytes: number): void {
    const { channel, agreement } = this.#options;
    for (const number of [channel.receivedBytes, channel.sentBytes, totalBytes, 1, 1]) {
      if (agreement.protocol >= 30) channel.output.varlong(number, 3);
      else channel.output.longInt(number);
    }
  }

  async #awaitGoodbye(): Promise<void> {
    const { channel, agreement } = this.#options;
    const done = async (): Promise<void> => {
      let index = await this.#reader.read(channel.input);
      while (index === INDEX_DELETE_STATISTICS) {
        await this.#skipDeleteStatistics();
        index = await this.#reader.read(channel.input);
      }
      if (index !== INDEX_DONE)
        throw new RsyncProtocolError("rsync protocol: something else than the end came at the end");
    };
    await done();
    if (agreement.protocol < 31) return;
    this.#writer.write(channel.output, INDEX_DONE);
    await channel.flush();
    await done();
  }
}

/** The same pieces, after the first has been read: by then it shows whether there are any to be had. */
async function firstPiece(pieces: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const iterator = pieces[Symbol.asyncIterator]();
  const first = await iterator.next();
  return (async function* () {
    if (first.done === true) return;
    yield first.value;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  })();
}
