import { DamagedError, InterruptedError, messageOf } from "../errors.ts";
import { walk } from "../browse/walk.ts";
import { createWriter, writeRaw, writtenCopy } from "../format/codec.ts";
import { createEntryEncoder, type FileEntry } from "../format/tree.ts";
import { closeFd, OPEN, openBeneath } from "../platform/open.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { statFd } from "../platform/stat.ts";
import type { ContentContext } from "./content-context.ts";
import { hasLargeContent, isLarge } from "./large-file.ts";
import type { RestoreOptions } from "./options.ts";
import { OUTCOME } from "./worker/messages.ts";

export interface Verification {
  readonly rootFd: number;
  readonly context: ContentContext;
  /** Whether this folder was made. */
  readonly mayEnter: (folder: RawPath) => boolean;
  /** Whether this file, by its number in the order of the walk, was restored or found to be right. */
  readonly isToVerify: (ordinal: number) => boolean;
  readonly onProblem: (path: RawPath, error: unknown) => void;
  readonly onVerified: () => void;
}

const BATCH_FILES = 512;
const BATCH_BYTES = 16 * 1024 * 1024;

interface FileToVerify {
  readonly path: RawPath;
  readonly entry: FileEntry;
}

/** Reads restored files again, and tells of each whose content is not what the snapshot says. */
export async function verifyFiles(options: RestoreOptions, verification: Verification): Promise<void> {
  const { view, select, signal } = options;
  const { context, isToVerify, mayEnter } = verification;
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  let batch: FileToVerify[] = [];
  let batchBytes = 0;
  let ordinal = 0;

  async function start(work: () => Promise<void>): Promise<void> {
    await context.pump.enter(0);
    const tracked: Promise<void> = work()
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => {
        context.pump.leave(0);
        running.delete(tracked);
      });
    running.add(tracked);
    if (failure !== undefined) throw failure.error;
  }

  async function startBatch(): Promise<void> {
    const files = batch;
    batch = [];
    batchBytes = 0;
    if (files.length > 0) await start(() => verifyBatch(verification, files));
  }

  const walked = walk(view, {
    enter: (path) => path === "" || (mayEnter(path) && (select?.(path, true).below ?? true)),
    onProblem: () => undefined,
  });
  for await (const { path, entry } of walked) {
    if (signal?.aborted === true) throw new InterruptedError("stopped while verifying");
    if (entry.type !== "file" || select?.(path, false).itself === false) continue;
    if (!isToVerify(ordinal++)) continue;
    if (isLarge(entry)) {
      await verifyLarge(options, verification, { path, entry });
      continue;
    }
    batch.push({ path, entry });
    batchBytes += entry.sizeBytes;
    if (batch.length >= BATCH_FILES || batchBytes >= BATCH_BYTES) await startBatch();
  }
  await startBatch();
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
}

async function verifyBatch(verification: Verification, files: readonly FileToVerify[]): Promise<void> {
  const encoder = createEntryEncoder();
  const entries = createWriter(64 * 1024);
  const offsets = new Uint32Array(files.length);
  for (const [index, { entry }] of files.entries()) {
    offsets[index] = entries.length;
    writeRaw(entries, encoder.encode(entry));
  }
  const task = {
    task: "verify",
    entries: writtenCopy(entries),
    offsets,
    rootFd: verification.rootFd,
    paths: files.map(({ path }) => path),
  } as const;
  const done = await verification.context.pool.run(task, [task.entries.buffer as ArrayBuffer]);
  const failures = new Map(done.failures.map((told) => [told.file, told]));
  for (const [index, file] of files.entries()) {
    const told = failures.get(index);
    tell(
      verification,
      file.path,
      told === undefined ? done.outcomes[index] === OUTCOME.unchanged : new Error(told.message),
    );
  }
}

async function verifyLarge(options: RestoreOptions, verification: Verification, file: FileToVerify): Promise<void> {
  const { path, entry } = file;
  const content = options.view.content(entry);
  try {
    const fd = openBeneath(verification.rootFd, path, OPEN.READ | OPEN.NONBLOCK);
    try {
      const stat = statFd(fd);
      const hasSize = stat.type === "file" && stat.sizeBytes === entry.sizeBytes;
      tell(verification, path, hasSize && (await hasLargeContent(verification.context, entry, fd, content)));
    } finally {
      closeFd(fd);
    }
  } catch (error) {
    tell(verification, path, new Error(messageOf(error), { cause: error }));
  }
}

function tell(verification: Verification, path: RawPath, right: boolean | Error): void {
  if (right === true) verification.onVerified();
  else if (right === false) {
    verification.onProblem(path, new DamagedError("what was restored does not read back as what the snapshot holds"));
  } else verification.onProblem(path, right);
}
