/** A worker thread of a restore: opens frames, verifies blobs and writes files. Started by ../worker-pool.ts. */
import { parentPort } from "node:worker_threads";
import { DamagedError, errnoOf, HoldfastError, messageOf } from "../../errors.ts";
import { decodeEntry, type FileEntry } from "../../format/tree.ts";
import { closeFd, OPEN, openBeneath } from "../../platform/open.ts";
import { statFd } from "../../platform/stat.ts";
import type { Shortfall } from "../attributes.ts";
import { freeMemory } from "../../platform/free-memory.ts";
import { beginWorker } from "../../platform/worker-threads.ts";
import {
  type Failure,
  FILE_FLAGS,
  type FilesTask,
  type Outcome,
  OUTCOME,
  type RangesTask,
  type TaskDone,
  type VerifyTask,
  type WorkerSetup,
  type WorkerTask,
} from "./messages.ts";
import { createOpenedFrames, type OpenedFrames } from "./opened-frames.ts";
import { hasContent, restoreFile } from "./restore-file.ts";
import { restoreRanges } from "./restore-ranges.ts";

const port = parentPort;
if (port === null) throw new Error("this module is only good as a worker thread");
beginWorker();

let setup: WorkerSetup;
let frames: OpenedFrames;

// A thread may have been started before it was known what for: that is what the first message says.
port.once("message", (first: WorkerSetup) => {
  setup = first;
  frames = createOpenedFrames(setup.repositoryId, setup.dataKey);
  port.on("message", (task: WorkerTask) => port.postMessage(handle(task)));
});

function handle(task: WorkerTask): TaskDone {
  if (task.task === "verify") return verifyFiles(task);
  const done = task.task === "files" ? restoreFiles(task) : ranges(task);
  frames.release();
  task.frames.chunks.forEach(freeMemory);
  return done;
}

function restoreFiles(task: FilesTask): TaskDone {
  const { number, flags, folderFds, blobs } = task;
  const outcomes = new Uint8Array(flags.length);
  const failures: Failure[] = [];
  const shortfalls: { kind: Shortfall; file: number }[] = [];
  let writtenBytes = 0;
  for (let file = 0; file < flags.length; file++) {
    if (Atomics.load(setup.stop, 0) !== 0) {
      outcomes.fill(OUTCOME.failed, file);
      break;
    }
    try {
      const toRestore = {
        entry: decodeEntry(task.entries, task.offsets[file]) as FileEntry,
        folderFd: folderFds[file],
        mayExist: (flags[file] & FILE_FLAGS.mayExist) !== 0,
        inheritsAcl: (flags[file] & FILE_FLAGS.inheritsAcl) !== 0,
        keepDamaged: task.keepDamaged,
        leaveWritable: (flags[file] & FILE_FLAGS.leaveWritable) !== 0,
        blob: (index: number, id: Uint8Array) => {
          const at = (task.firstBlobs[file] + index) * 2;
          return frames.blob(task.frames, blobs[at], blobs[at + 1], id);
        },
      };
      const restored = restoreFile(setup, frames, toRestore, (kind) => shortfalls.push({ kind, file }));
      outcomes[file] = restored.outcome;
      writtenBytes += restored.writtenBytes;
    } catch (error) {
      outcomes[file] = OUTCOME.failed;
      failures.push(failureOf(file, error));
    }
    frames.release();
  }
  return { number, outcomes, failures, writtenBytes, shortfalls };
}

function ranges(task: RangesTask): TaskDone {
  const { number } = task;
  try {
    const { writtenBytes, changed, damaged } = restoreRanges(frames, task, setup.sparse);
    const failures = damaged.map(({ blob, error }) => failureOf(blob, error));
    return {
      number,
      outcomes: outcome(changed ? OUTCOME.replaced : OUTCOME.unchanged),
      failures,
      writtenBytes,
      shortfalls: [],
    };
  } catch (error) {
    return {
      number,
      outcomes: outcome(OUTCOME.failed),
      failures: [failureOf(0, error)],
      writtenBytes: 0,
      shortfalls: [],
    };
  }
}

function verifyFiles(task: VerifyTask): TaskDone {
  const outcomes = new Uint8Array(task.paths.length);
  const failures: Failure[] = [];
  for (let file = 0; file < task.paths.length; file++) {
    try {
      const entry = decodeEntry(task.entries, task.offsets[file]) as FileEntry;
      const fd = openBeneath(task.rootFd, task.paths[file], OPEN.READ | OPEN.NONBLOCK);
      try {
        const stat = statFd(fd);
        const same = stat.type === "file" && stat.sizeBytes === entry.sizeBytes && hasContent(frames, fd, entry);
        outcomes[file] = same ? OUTCOME.unchanged : OUTCOME.replaced;
      } finally {
        closeFd(fd);
      }
    } catch (error) {
      outcomes[file] = OUTCOME.failed;
      failures.push(failureOf(file, error));
    }
  }
  return { number: task.number, outcomes, failures, writtenBytes: 0, shortfalls: [] };
}

function outcome(value: Outcome): Uint8Array {
  return Uint8Array.of(value);
}

function failureOf(file: number, error: unknown): Failure {
  return {
    file,
    message: messageOf(error),
    code: error instanceof HoldfastError ? undefined : errnoOf(error),
    damaged: error instanceof DamagedError,
  };
}
