import { createBlobPlacer } from "../browse/file-layout.ts";
import { DamagedError, InterruptedError } from "../errors.ts";
import type { ContentBlob, FileEntry } from "../format/tree.ts";
import { readXattrsFd } from "../platform/extended-attributes.ts";
import { truncateFd } from "../platform/file-data.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { closeFd } from "../platform/open.ts";
import { statAtIfExists, statFd } from "../platform/stat.ts";
import type { OnShortfall } from "./attributes.ts";
import { type ContentContext, failureOfError, type FileFailure, type RestorableFile } from "./content-context.ts";
import { hasSameTime, mayOverwrite } from "./existing.ts";
import { plainBlobs } from "./frame-fetcher.ts";
import {
  createFile,
  type FilePlace,
  finishAttributes,
  isItsOwn,
  openToChange,
  openToCompare,
  settleAttributes,
} from "./target-file.ts";
import { hasHoles, makeHoles } from "./worker/file-content.ts";
import { EXTENT_WORDS, type Outcome, OUTCOME, type RangesTask, type TaskDone } from "./worker/messages.ts";

type BlobBatches = AsyncIterable<readonly ContentBlob[]>;

/** Where a large file is cut into tasks, if a frame ends there, and where in any case. */
const RANGE_BYTES = 4 * 1024 * 1024;
const LARGEST_RANGE_BYTES = 8 * 1024 * 1024;

/** Files of more data than this are shared out between the workers. */
export const SMALL_FILE_BYTES = 8 * 1024 * 1024;

export function isLarge(entry: FileEntry): boolean {
  if (entry.listed === true) return true;
  let dataBytes = entry.sizeBytes;
  for (const hole of entry.holes) dataBytes -= hole.lengthBytes;
  return dataBytes > SMALL_FILE_BYTES;
}

/** Whether an open file of the right size holds what the entry says. */
export async function hasLargeContent(
  context: ContentContext,
  entry: FileEntry,
  fd: number,
  content: BlobBatches,
): Promise<boolean> {
  return (
    !(await runRanges(context, entry, fd, "compare", content)).changed && hasHoles(fd, entry.holes, entry.sizeBytes)
  );
}

/**
 * Restores one large file, all workers together. An existing one is changed where it is and only where it differs, so
 * that what a run that was stopped has written is not written again. `content` gives its blobs anew each time.
 */
export async function restoreLargeFile(
  context: ContentContext,
  file: RestorableFile,
  entry: FileEntry,
  content: () => BlobBatches,
): Promise<void> {
  const { folders } = context;
  let outcome: Outcome = OUTCOME.failed;
  let failure: FileFailure | undefined;
  try {
    const folderFd = folders.pin(file.folder);
    try {
      outcome = await restorePinned(context, file, entry, folderFd, content);
    } finally {
      folders.unpin(file.folder);
    }
  } catch (error) {
    failure = failureOfError(error);
  }
  file.done(outcome, failure);
}

async function restorePinned(
  context: ContentContext,
  file: RestorableFile,
  entry: FileEntry,
  folderFd: number,
  content: () => BlobBatches,
): Promise<Outcome> {
  const { setup } = context;
  const { folder, leaveWritable, onShortfall } = file;
  const place: FilePlace = { folderFd, entry, inheritsAcl: folder.inheritsAcl, leaveWritable };
  const existing = folder.isNew ? undefined : statAtIfExists(folderFd, entry.name);
  if (existing !== undefined) {
    if (!mayOverwrite(setup.overwrite, entry, existing)) return OUTCOME.skipped;
    const kept = await keepExisting(context, place, existing, content, onShortfall);
    if (kept !== undefined) return kept;
  }
  if (setup.dryRun) return existing === undefined ? OUTCOME.restored : OUTCOME.replaced;
  if (existing !== undefined && isItsOwn(existing) && setup.overwrite !== "if-newer") {
    const fd = openToChange(folderFd, entry.name, existing);
    if (fd !== undefined) return updateInPlace(context, place, fd, existing, content, onShortfall);
  }
  await writeNew(context, place, existing, content, onShortfall);
  return existing === undefined ? OUTCOME.restored : OUTCOME.replaced;
}

/** Undefined where the existing file is not right, or cannot be kept for another reason. */
async function keepExisting(
  context: ContentContext,
  place: FilePlace,
  existing: FileStat,
  content: () => BlobBatches,
  onShortfall: OnShortfall,
): Promise<Outcome | undefined> {
  const { setup } = context;
  const { entry, folderFd } = place;
  if (existing.type !== "file" || existing.sizeBytes !== entry.sizeBytes) return undefined;
  const trusted = setup.overwrite === "if-changed" && hasSameTime(entry, existing);
  // What may be changed in place is compared there, in one go with changing it.
  if (!trusted && isItsOwn(existing) && !setup.dryRun && setup.overwrite !== "if-newer") return undefined;
  if (!isItsOwn(existing) && entry.hardLink === undefined) return undefined;
  const fd = openToCompare(folderFd, entry.name);
  if (fd === undefined) return undefined;
  try {
    if (!trusted && !(await hasLargeContent(context, entry, fd, content()))) return undefined;
    const settled = settleAttributes(place, fd, setup, setup.dryRun, onShortfall);
    if (settled === "must be made anew") return undefined;
    return settled === "unchanged" ? OUTCOME.unchanged : OUTCOME.touched;
  } finally {
    closeFd(fd);
  }
}

async function updateInPlace(
  context: ContentContext,
  place: FilePlace,
  fd: number,
  existing: FileStat,
  content: () => BlobBatches,
  onShortfall: OnShortfall,
): Promise<Outcome> {
  const { entry } = place;
  try {
    const sameSize = existing.sizeBytes === entry.sizeBytes;
    const sameHoles = sameSize && hasHoles(fd, entry.holes, entry.sizeBytes);
    if (!sameSize) truncateFd(fd, entry.sizeBytes);
    if (!sameHoles) makeHoles(fd, entry.holes, entry.sizeBytes);
    const { changed, damage } = await runRanges(context, entry, fd, "update", content());
    if (damage !== undefined) throw damage;
    if (sameHoles && !changed) {
      return settleAttributes(place, fd, context.setup, false, onShortfall) === "unchanged"
        ? OUTCOME.unchanged
        : OUTCOME.touched;
    }
    finishAttributes(fd, place, { stat: statFd(fd), xattrs: readXattrsFd(fd) }, context.setup, onShortfall);
    return OUTCOME.replaced;
  } finally {
    closeFd(fd);
  }
}

async function writeNew(
  context: ContentContext,
  place: FilePlace,
  existing: FileStat | undefined,
  content: () => BlobBatches,
  onShortfall: OnShortfall,
): Promise<void> {
  const created = createFile(place, existing, context.setup);
  let damage: DamagedError | undefined;
  try {
    // The size first: what is not written then is a hole.
    truncateFd(created.fd, place.entry.sizeBytes);
    damage = (await runRanges(context, place.entry, created.fd, "write", content())).damage;
    if (damage !== undefined && (!context.keepDamaged || existing !== undefined)) throw damage;
  } catch (error) {
    // What is written already need not be written again by the run that goes on.
    if (error instanceof InterruptedError) created.leave();
    else created.discard();
    throw error;
  }
  created.finish(onShortfall, damage && "damaged");
  if (damage !== undefined) throw damage;
}

interface RangesOutcome {
  readonly changed: boolean;
  /** Set where some content could not be had. The rest is written. */
  readonly damage: DamagedError | undefined;
}

/** Blobs that one task handles. */
interface Range {
  readonly ids: Uint8Array;
  readonly lengths: Uint32Array;
  readonly extents: Float64Array;
  /** Frame and place of each blob. */
  readonly locations: readonly number[];
  readonly blobs: readonly ContentBlob[];
}

/** Throws what stops the file as a whole; then no task is under way any more. */
async function runRanges(
  context: ContentContext,
  entry: FileEntry,
  fd: number,
  mode: RangesTask["mode"],
  content: BlobBatches,
): Promise<RangesOutcome> {
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  let changed = false;
  let lostBlobs = 0;
  let firstMessage = "";

  const isOver = (): boolean => failure !== undefined || context.isStopping() || (mode === "compare" && changed);

  async function handle(range: Range): Promise<void> {
    if (mode !== "write") {
      // Without frames: most of what is there is right.
      const compared = await runTask(context, fd, "compare", range, NO_FRAMES);
      if (compared.outcomes[0] === OUTCOME.unchanged) return;
      changed = true;
      if (mode === "compare") return;
    }
    const frames = Array.from(new Set(range.locations.filter((_, index) => index % 2 === 0)));
    const placeOf = new Map(frames.map((frame, index) => [frame, index]));
    const blobs = range.locations.map((value, index) => (index % 2 === 0 ? (placeOf.get(value) ?? 0) : value));
    const done = await runTask(context, fd, mode, range, { blobs, ...(await context.fetcher.fetch(frames)) });
    for (const { file: blob } of done.failures) await tryBlobAgain(range, blob);
  }

  async function tryBlobAgain(range: Range, blob: number): Promise<void> {
    const bytes = await context.secondTry.read(range.blobs[blob]);
    const alone = rangeOfOne(range, blob);
    const done = await runTask(context, fd, mode, alone, { blobs: [0, 0], ...plainBlobs([bytes]) });
    if (done.failures.length === 0) return;
    lostBlobs++;
    firstMessage ||= done.failures[0].message;
  }

  try {
    for await (const range of rangesOf(context, entry, content)) {
      const bytes = mode === "compare" ? 0 : range.lengths.reduce((sum, length) => sum + length, 0);
      await context.pump.enter(bytes);
      if (isOver()) {
        context.pump.leave(bytes);
        break;
      }
      const tracked = handle(range)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => {
          context.pump.leave(bytes);
          running.delete(tracked);
        });
      running.add(tracked);
    }
  } finally {
    await Promise.all(running);
  }
  if (failure !== undefined) throw failure.error;
  if (context.isStopping()) throw new InterruptedError("stopped in the middle of a file");
  const damage =
    lostBlobs === 0 ? undefined : new DamagedError(`${lostBlobs} piece(s) of it cannot be had: ${firstMessage}`);
  return { changed, damage };
}

interface TaskFrames {
  readonly blobs: readonly number[];
  readonly posted: RangesTask["frames"];
  readonly transfer: readonly ArrayBuffer[];
}

const NO_FRAMES: TaskFrames = { blobs: [], posted: { chunks: [], frames: [] }, transfer: [] };

async function runTask(
  context: ContentContext,
  fd: number,
  mode: RangesTask["mode"],
  range: Range,
  frames: TaskFrames,
): Promise<TaskDone> {
  const { ids, lengths, extents } = range;
  const blobs = Uint32Array.from(frames.blobs);
  const task = { task: "ranges", fd, mode, ids, lengths, extents, blobs, frames: frames.posted } as const;
  const done = await context.pool.run(task, frames.transfer);
  context.onWritten(done.writtenBytes);
  if (done.outcomes[0] !== OUTCOME.failed) return done;
  const { message, code } = done.failures[0];
  throw Object.assign(new Error(message), { code });
}

async function* rangesOf(context: ContentContext, entry: FileEntry, content: BlobBatches): AsyncGenerator<Range> {
  const placer = createBlobPlacer(entry);
  let blobs: ContentBlob[] = [];
  let locations: number[] = [];
  let extents: number[] = [];
  let bytes = 0;
  const take = (): Range => {
    const range: Range = {
      ids: joinIds(blobs),
      lengths: Uint32Array.from(blobs, ({ lengthBytes }) => lengthBytes),
      extents: Float64Array.from(extents),
      locations,
      blobs,
    };
    blobs = [];
    locations = [];
    extents = [];
    bytes = 0;
    return range;
  };
  for await (const batch of content) {
    for (const blob of batch) {
      const { frame, place } = context.fetcher.locate(blob.id);
      const endsHere = bytes >= RANGE_BYTES && frame !== locations.at(-2);
      if (endsHere || bytes >= LARGEST_RANGE_BYTES) yield take();
      for (const { fileOffset, blobOffset, lengthBytes } of placer.place(blob.lengthBytes)) {
        extents.push(blobs.length, fileOffset, blobOffset, lengthBytes);
      }
      blobs.push(blob);
      locations.push(frame, place);
      bytes += blob.lengthBytes;
    }
  }
  if (blobs.length > 0) yield take();
}

function joinIds(blobs: readonly ContentBlob[]): Uint8Array {
  const ids = new Uint8Array(blobs.length * 32);
  for (const [index, { id }] of blobs.entries()) ids.set(id, index * 32);
  return ids;
}

function rangeOfOne(range: Range, blob: number): Range {
  const extents: number[] = [];
  for (let at = 0; at < range.extents.length; at += EXTENT_WORDS) {
    if (range.extents[at] === blob) extents.push(0, ...range.extents.subarray(at + 1, at + EXTENT_WORDS));
  }
  return {
    ids: range.ids.slice(blob * 32, blob * 32 + 32),
    lengths: range.lengths.slice(blob, blob + 1),
    extents: Float64Array.from(extents),
    locations: [],
    blobs: [range.blobs[blob]],
  };
}
