import { createWriter, writeRaw, writtenCopy } from "../format/codec.ts";
import { contentIds, decodeEntry, type FileEntry } from "../format/tree.ts";
import { type ContentContext, failureOfError, type FileFailure, type RestorableFile } from "./content-context.ts";
import { type FetchedFrames, plainBlobs } from "./frame-fetcher.ts";
import { FILE_FLAGS, OUTCOME, type Outcome } from "./worker/messages.ts";

/**
 * Restores files that are handled whole, many in one task.
 *
 * Files wait until there are some thousands, so that those whose content lies in one frame meet, in whatever order the
 * tree has them: then each frame is read and opened once, or nearly.
 */
export interface SmallFiles {
  /** Takes one file more. To be awaited: it resolves when there is room for the next. */
  add(file: RestorableFile): Promise<void>;
  /** Hands out all that wait, and resolves when all files are done. */
  drain(): Promise<void>;
  /** How many wait to be handed out. */
  waiting(): number;
  /** Forgets those that wait, and resolves when nothing is under way. */
  abandon(): Promise<void>;
}

interface WaitingFile {
  readonly file: RestorableFile;
  readonly folderFd: number;
  /** For each blob: frame and place. */
  readonly blobs: readonly number[];
  readonly firstFrame: number;
}

const WINDOW_FILES = 1024;
const WINDOW_BYTES = 32 * 1024 * 1024;
/** Each file that waits holds its folder open; a process may have 1,024 descriptors on many systems. */
const MOST_OPEN_FOLDERS = 384;
const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_FILES = 256;

export function createSmallFiles(context: ContentContext): SmallFiles {
  const { pool, pump, folders, fetcher, secondTry } = context;
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  let window: WaitingFile[] = [];
  let windowBytes = 0;
  let lastFrame = 0;

  async function add(file: RestorableFile): Promise<void> {
    const waiting = prepare(file);
    if (waiting === undefined) return;
    window.push(waiting);
    windowBytes += file.sizeBytes;
    if (window.length >= WINDOW_FILES || windowBytes >= WINDOW_BYTES) await track(handOut());
    while (folders.openCount() >= MOST_OPEN_FOLDERS && failure === undefined) {
      if (window.length > 0) await track(handOut());
      else if (running.size > 0) await Promise.race(running);
      else break;
    }
    if (failure !== undefined) throw failure.error;
  }

  function prepare(file: RestorableFile): WaitingFile | undefined {
    try {
      const blobs: number[] = [];
      contentIds(file.encoded, (idOffset) => {
        const { frame, place } = fetcher.locate(file.encoded.subarray(idOffset, idOffset + 32));
        blobs.push(frame, place);
      });
      // Empty files go along with those beside them.
      const firstFrame = blobs.length > 0 ? blobs[0] : lastFrame;
      lastFrame = firstFrame;
      return { file, folderFd: folders.pin(file.folder), blobs, firstFrame };
    } catch (error) {
      file.done(OUTCOME.failed, failureOfError(error));
      return undefined;
    }
  }

  async function handOut(): Promise<void> {
    const files = window.sort((a, b) => a.firstFrame - b.firstFrame);
    window = [];
    windowBytes = 0;
    for (const batch of batchesOf(files)) {
      if (context.isStopping()) return;
      const frames = framesOf(batch);
      const bytes = frames.reduce((sum, frame) => sum + fetcher.sealedBytes(frame), 0);
      await pump.enter(bytes);
      void track(runBatch(batch, frames).finally(() => pump.leave(bytes)));
    }
  }

  function track(work: Promise<void>): Promise<void> {
    const tracked: Promise<void> = work
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => running.delete(tracked));
    running.add(tracked);
    return tracked;
  }

  async function runBatch(batch: readonly WaitingFile[], frames: readonly number[]): Promise<void> {
    const placeOf = new Map(frames.map((frame, place) => [frame, place]));
    const blobs: number[] = [];
    for (const file of batch) {
      for (let at = 0; at < file.blobs.length; at += 2)
        blobs.push(placeOf.get(file.blobs[at]) ?? 0, file.blobs[at + 1]);
    }
    await runTask(batch, await fetcher.fetch(frames), blobs, false);
  }

  async function runTask(
    batch: readonly WaitingFile[],
    fetched: FetchedFrames,
    blobs: readonly number[],
    lastTry: boolean,
  ): Promise<void> {
    const entries = createWriter(64 * 1024);
    const offsets = new Uint32Array(batch.length);
    const firstBlobs = new Uint32Array(batch.length);
    let blobCount = 0;
    for (const [index, { file, blobs: own }] of batch.entries()) {
      offsets[index] = entries.length;
      firstBlobs[index] = blobCount;
      blobCount += own.length / 2;
      writeRaw(entries, file.encoded);
    }
    const task = {
      task: "files",
      entries: writtenCopy(entries),
      offsets,
      firstBlobs,
      folderFds: Int32Array.from(batch, ({ folderFd }) => folderFd),
      flags: Uint8Array.from(batch, ({ file }) => flagsOf(file)),
      blobs: Uint32Array.from(blobs),
      frames: fetched.posted,
      keepDamaged: lastTry && context.keepDamaged,
    } as const;
    const done = await pool.run(task, [...fetched.transfer, task.entries.buffer as ArrayBuffer]);
    context.onWritten(done.writtenBytes);
    for (const { file, kind } of done.shortfalls) batch[file].file.onShortfall(kind);
    const failures = new Map(done.failures.map((told) => [told.file, told]));
    for (const [index, waiting] of batch.entries()) {
      const told = failures.get(index);
      if (told?.damaged === true && !lastTry) void track(tryAgain(waiting));
      else settle(waiting, done.outcomes[index] as Outcome, told);
    }
  }

  function settle(waiting: WaitingFile, outcome: Outcome, told: FileFailure | undefined): void {
    folders.unpin(waiting.file.folder);
    waiting.file.done(outcome, told);
  }

  async function tryAgain(waiting: WaitingFile): Promise<void> {
    const { encoded, sizeBytes } = waiting.file;
    const { content } = decodeEntry(encoded) as FileEntry;
    await pump.enter(sizeBytes);
    try {
      const blobs: Awaited<ReturnType<typeof secondTry.read>>[] = [];
      for (const blob of content) blobs.push(await secondTry.read(blob));
      const places = content.flatMap((_, index) => [index, 0]);
      await runTask([waiting], plainBlobs(blobs), places, true);
    } finally {
      pump.leave(sizeBytes);
    }
  }

  async function drain(): Promise<void> {
    while (window.length > 0 || running.size > 0) {
      await track(handOut());
      await Promise.all(running);
    }
    if (failure !== undefined) throw failure.error;
  }

  return {
    add,
    drain,
    waiting: () => window.length,
    async abandon() {
      for (const { file } of window) folders.unpin(file.folder);
      window = [];
      while (running.size > 0) await Promise.all(running);
    },
  };
}

function flagsOf({ folder, leaveWritable }: RestorableFile): number {
  return (
    (folder.isNew ? 0 : FILE_FLAGS.mayExist) |
    (folder.inheritsAcl ? FILE_FLAGS.inheritsAcl : 0) |
    (leaveWritable ? FILE_FLAGS.leaveWritable : 0)
  );
}

/** Cut where one frame ends and the next begins, if that comes soon. */
function* batchesOf(files: readonly WaitingFile[]): Generator<WaitingFile[]> {
  let batch: WaitingFile[] = [];
  let bytes = 0;
  for (const waiting of files) {
    const isFull = bytes >= BATCH_BYTES || batch.length >= BATCH_FILES;
    const isOverfull = bytes >= 2 * BATCH_BYTES || batch.length >= 2 * BATCH_FILES;
    if (isOverfull || (isFull && waiting.firstFrame !== batch[batch.length - 1].firstFrame)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(waiting);
    bytes += waiting.file.sizeBytes;
  }
  if (batch.length > 0) yield batch;
}

function framesOf(batch: readonly WaitingFile[]): number[] {
  const frames = new Set<number>();
  for (const { blobs } of batch) for (let at = 0; at < blobs.length; at += 2) frames.add(blobs[at]);
  return Array.from(frames);
}
