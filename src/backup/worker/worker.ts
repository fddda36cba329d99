/** A worker thread of a backup: reads, cuts, hashes, compresses and seals. Started by ../worker-pool.ts. */
import { parentPort } from "node:worker_threads";
import { freeMemory } from "../../platform/free-memory.ts";
import { beginWorker } from "../../platform/worker-threads.ts";
import { type ContentSaver, createContentSaver, type SavedContent } from "./content-saver.ts";
import {
  type ContentsTask,
  type FileResult,
  FRAMES_UNDER_WAY,
  packResults,
  unpackFiles,
  type WorkerReply,
  type WorkerSetup,
  type WorkerTask,
} from "./messages.ts";
import { saveFile, saveSegment } from "./save-file.ts";

const port = parentPort;
if (port === null) throw new Error("this module is only good as a worker thread");
beginWorker();

// The first message says what all the others are about.
port.once("message", (setup: WorkerSetup) => {
  const saver = createContentSaver(setup, (frame) => {
    waitForRoom(setup.framesUnderWay);
    reply({ reply: "frame", frame }, [frame.record.buffer as ArrayBuffer]);
  });
  const handle = createTaskHandler(saver);
  port.on("message", handle);
});

/** Stands still while too many frames wait for storage. */
function waitForRoom(framesUnderWay: Int32Array<SharedArrayBuffer>): void {
  for (;;) {
    const count = Atomics.load(framesUnderWay, 0);
    if (count < FRAMES_UNDER_WAY) break;
    Atomics.wait(framesUnderWay, 0, count);
  }
  Atomics.add(framesUnderWay, 0, 1);
}

function createTaskHandler(saver: ContentSaver): (task: WorkerTask) => void {
  let stream: ReturnType<ContentSaver["openStream"]> | undefined;

  function takePiece(bytes: Uint8Array): void {
    const lengthBytes = bytes.length;
    stream?.push(bytes);
    freeMemory(bytes);
    reply({ reply: "piece-taken", bytes: lengthBytes });
  }

  return (task) => {
    switch (task.task) {
      case "files":
        return done(
          task.number,
          unpackFiles(task).map((file) => saveFile(saver, file)),
        );
      case "contents":
        return done(task.number, saveContents(saver, task), task.bytes);
      case "segment":
        return done(task.number, [saveSegment(saver, task)]);
      case "stream-open":
        stream = saver.openStream();
        return;
      case "stream-piece":
        return takePiece(task.bytes);
      case "stream-end": {
        const content = stream?.end();
        stream = undefined;
        return done(task.number, content ? [streamed(content)] : []);
      }
      case "flush":
        saver.flush();
        return done(task.number, []);
    }
  };
}

function saveContents(saver: ContentSaver, { bytes, lengths }: ContentsTask): FileResult[] {
  const results: FileResult[] = [];
  let at = 0;
  for (const length of lengths) results.push(streamed(saver.saveBytes(bytes.subarray(at, (at += length)))));
  return results;
}

function streamed(content: SavedContent): FileResult {
  return { ...content, holes: [], xattrs: undefined, stat: undefined, changedWhileRead: false };
}

function done(number: number, results: readonly FileResult[], emptied?: Uint8Array<ArrayBuffer>): void {
  reply({ reply: "done", number, results: packResults(results), emptied }, emptied && [emptied.buffer]);
}

function reply(message: WorkerReply, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}
