import { errnoOf, messageOf } from "../errors.ts";
import type { ExtendedAttribute, Hole } from "../format/tree.ts";
import { readXattrsFd } from "../platform/extended-attributes.ts";
import { boundHeap } from "../platform/bound-heap.ts";
import { freeMemory } from "../platform/free-memory.ts";
import { closeFd } from "../platform/open.ts";
import { statFd } from "../platform/stat.ts";
import {
  ContentToReadAgainError,
  FileUnreadableError,
  type LocalFile,
  type Source,
  type SourceEntry,
  type StreamedFile,
} from "../source/source.ts";
import type { WorkerPool, WorkerStream } from "./worker-pool.ts";
import { SMALL_FILE_BYTES } from "./worker/content-saver.ts";
import { type FileResult, type FileSaved, type FileToRead, packFiles } from "./worker/messages.ts";
import { dataRanges, holesOf, isChanged, isSystemFailure, openForReading } from "./worker/save-file.ts";

/** A file whose content is being read by a worker. */
export interface ReadFile {
  /** Undefined while it is under way. */
  result: FileResult | undefined;
  /** Set where the whole backup must stop because of it. */
  fatal: unknown;
}

/** Hands files to the workers: small ones by the batch, large ones in segments to all of them at once. */
export interface FileReader {
  read(entry: SourceEntry): ReadFile;
  /** Sends off the batch that is being gathered. */
  dispatch(): void;
  /** Resolves when more may be read. */
  ready(): Promise<void>;
  /** Resolves when the next result is there, or at `wake`. */
  progress(): Promise<void>;
  /** Ends a wait for progress: a single file may take hours. */
  wake(): void;
}

/** From so many on, what they leave in this thread is kept small. */
const MANY_STREAMS = 5000;
const NO_HOLES: readonly Hole[] = [];
const BATCH_BYTES = 1024 * 1024;
const BATCH_FILES = 128;
/** So many that are done with are kept before they are let go of. */
const BATCH_STREAMS = 1024;
/**
 * Files of at least twice this are read in segments that end at multiples of it. It costs a chunk or two a segment where
 * content has shifted, and lets all cores work on one file.
 */
export const SEGMENT_BYTES = 128 * 1024 * 1024;

export function createFileReader(pool: WorkerPool, source: Source): FileReader {
  let batch: { file: FileToRead; read: ReadFile }[] = [];
  let batchBytes = 0;
  let waiting: (() => void)[] = [];
  let streams: { readonly streamed: StreamedFile; readonly read: ReadFile }[] = [];
  let streamsHead = 0;
  let streamsSoFar = 0;
  let isReadingStreams = false;
  let contents: { readonly sizeBytes: number; readonly holes: readonly Hole[]; readonly read: ReadFile }[] = [];
  /** Where `contents` lie one after another: thousands of small buffers cost more than what is in them. */
  let contentsBuffer = new Uint8Array(0);
  let contentsBytes = 0;

  function settled(): void {
    const callbacks = waiting;
    waiting = [];
    for (const callback of callbacks) callback();
  }

  function dispatch(): void {
    if (batch.length === 0) return;
    const sent = batch;
    batch = [];
    batchBytes = 0;
    pool.run({ task: "files", ...packFiles(sent.map(({ file }) => file)) }).then(
      (results) => {
        results.forEach((result, index) => (sent[index].read.result = result));
        settled();
      },
      (error: unknown) => {
        for (const { read } of sent) read.fatal = error;
        settled();
      },
    );
  }

  function inBackground(read: ReadFile, work: Promise<FileResult>): void {
    work
      .then(
        (result) => (read.result = result),
        (error: unknown) => (read.fatal = error),
      )
      .finally(settled);
  }

  async function readSegments(local: LocalFile, entry: SourceEntry): Promise<FileResult> {
    let fd: number;
    try {
      fd = openForReading(local.rootFd, local.path);
    } catch (error) {
      return failed("open", error);
    }
    const underWay: Promise<void>[] = [];
    try {
      const { sizeBytes } = entry.stat;
      const holes = holesOf(fd, entry.stat);
      const xattrs = readXattrsFd(fd);
      const parts: FileResult[] = [];
      for (const [number, ranges] of segments(dataRanges(holes, sizeBytes)).entries()) {
        await pool.ready();
        const reading = pool.run({ task: "segment", fd, ranges }).then(([result]) => {
          parts[number] = result;
        });
        // Whoever waits for all of them is told; if that is nobody, because waiting for room failed, nobody needs be.
        reading.catch(() => undefined);
        underWay.push(reading);
      }
      await Promise.all(underWay);
      const after = statFd(fd);
      if (after.type !== "file") return failed("read", new Error("it is not a file any more"));
      return joinSegments(parts, holes, xattrs, isChanged(entry.stat, after) ? { ...after, sizeBytes } : undefined);
    } catch (error) {
      if (!isSystemFailure(error)) throw error;
      return failed("read", error);
    } finally {
      // While a worker reads from it, its number must not become another file's.
      await Promise.allSettled(underWay);
      closeFd(fd);
    }
  }

  /** Reads streams one after another: the source may have only one connection. */
  async function readStreams(): Promise<void> {
    isReadingStreams = true;
    while (streamsHead < streams.length) {
      const { streamed, read } = streams[streamsHead++];
      if (streamsHead === BATCH_STREAMS) {
        streams = streams.slice(streamsHead);
        streamsHead = 0;
      }
      try {
        if (!pool.isReady()) await pool.ready();
        const whole = streamed.whole?.();
        if (whole === undefined) await readStream(streamed, read);
        else saveTogether([whole], whole.length, NO_HOLES, read);
      } catch (error) {
        read.fatal = error;
      }
    }
    streams = [];
    streamsHead = 0;
    isReadingStreams = false;
    settled();
  }

  /** Reads a stream to its end. What comes of it may be there only later. */
  async function readStream(streamed: StreamedFile, read: ReadFile, mayReadAgain = true): Promise<void> {
    const held: Uint8Array[] = [];
    let heldBytes = 0;
    let stream: WorkerStream | undefined;
    try {
      for await (const piece of streamed.pieces()) {
        held.push(piece);
        heldBytes += piece.length;
        if (stream === undefined && heldBytes <= SMALL_FILE_BYTES) continue;
        stream ??= pool.openStream();
        for (const bytes of held.splice(0)) await stream.push(bytes);
      }
    } catch (error) {
      await stream?.end();
      if (error instanceof ContentToReadAgainError && mayReadAgain) return readStream(streamed, read, false);
      if (!(error instanceof FileUnreadableError)) throw error;
      read.result = failed("read", error);
      return settled();
    }
    const holes = streamed.holes ?? NO_HOLES;
    if (stream === undefined) saveTogether(held, heldBytes, holes, read);
    else
      inBackground(
        read,
        stream.end().then((result) => withHoles(result, holes)),
      );
  }

  /** Saves small content with that of other files. */
  function saveTogether(
    pieces: readonly Uint8Array[],
    sizeBytes: number,
    holes: readonly Hole[],
    read: ReadFile,
  ): void {
    if (contentsBytes + sizeBytes > contentsBuffer.length) {
      dispatchContents();
      contentsBuffer = pool.contentsMemory();
    }
    for (const piece of pieces) {
      contentsBuffer.set(piece, contentsBytes);
      contentsBytes += piece.length;
      // It may be asked for nothing after this.
      freeMemory(piece);
    }
    contents.push({ sizeBytes, holes, read });
    if (contents.length >= BATCH_FILES) dispatchContents();
  }

  function dispatchContents(): void {
    if (contents.length === 0) return;
    const sent = contents;
    const bytes = contentsBuffer;
    contents = [];
    contentsBuffer = new Uint8Array(0);
    contentsBytes = 0;
    pool.run({ task: "contents", bytes, lengths: Uint32Array.from(sent, ({ sizeBytes }) => sizeBytes) }).then(
      (results) => {
        results.forEach((result, index) => {
          const { read, holes } = sent[index];
          read.result = withHoles(result, holes);
        });
        settled();
      },
      (error: unknown) => {
        for (const { read } of sent) read.fatal = error;
        settled();
      },
    );
  }

  return {
    read(entry) {
      const content = source.content(entry);
      const read: ReadFile = { result: undefined, fatal: undefined };
      if (content.kind === "stream") {
        streams.push({ streamed: content, read });
        if (++streamsSoFar === MANY_STREAMS) boundHeap();
        if (!isReadingStreams) void readStreams();
      } else if (entry.stat.sizeBytes >= 2 * SEGMENT_BYTES) {
        dispatch();
        inBackground(read, readSegments(content, entry));
      } else {
        batch.push({ file: { rootFd: content.rootFd, path: content.path, stat: entry.stat }, read });
        batchBytes += entry.stat.sizeBytes;
        if (batchBytes >= BATCH_BYTES || batch.length >= BATCH_FILES) dispatch();
      }
      return read;
    },
    dispatch() {
      dispatch();
      // While streams are being read more content may come; when none is, nobody else would send this off.
      if (!isReadingStreams) dispatchContents();
    },
    ready: () => pool.ready(),
    progress: () => new Promise((resolve) => waiting.push(resolve)),
    wake: settled,
  };
}

function withHoles(result: FileResult, holes: readonly Hole[]): FileResult {
  return "failure" in result || holes.length === 0 ? result : { ...result, holes };
}

function failed(during: string, error: unknown): FileResult {
  return { failure: { during, message: messageOf(error), code: errnoOf(error) } };
}

/** Cuts ranges at multiples of `SEGMENT_BYTES` of the file, and gathers them by segment. */
export function segments(
  ranges: readonly { offset: number; lengthBytes: number }[],
): { offset: number; lengthBytes: number }[][] {
  const gathered = new Map<number, { offset: number; lengthBytes: number }[]>();
  for (const range of ranges) {
    let at = range.offset;
    const end = range.offset + range.lengthBytes;
    while (at < end) {
      const segment = Math.floor(at / SEGMENT_BYTES);
      const stop = Math.min(end, (segment + 1) * SEGMENT_BYTES);
      const list = gathered.get(segment);
      if (list === undefined) gathered.set(segment, [{ offset: at, lengthBytes: stop - at }]);
      else list.push({ offset: at, lengthBytes: stop - at });
      at = stop;
    }
  }
  return [...gathered.values()];
}

function joinSegments(
  parts: readonly FileResult[],
  holes: readonly Hole[],
  xattrs: readonly ExtendedAttribute[],
  changed: FileSaved["stat"],
): FileResult {
  const saved: FileSaved[] = [];
  for (const part of parts) {
    if ("failure" in part) return part;
    if (part.changedWhileRead) {
      const message = "it became shorter while it was read";
      return { failure: { during: "read", message, code: undefined } };
    }
    saved.push(part);
  }
  return {
    ids: Buffer.concat(saved.map((part) => part.ids)),
    lengths: saved.flatMap((part) => part.lengths),
    holes,
    xattrs,
    stat: changed,
    changedWhileRead: changed !== undefined,
    newBytes: saved.reduce((sum, part) => sum + part.newBytes, 0),
    newBlobs: saved.reduce((sum, part) => sum + part.newBlobs, 0),
  };
}
