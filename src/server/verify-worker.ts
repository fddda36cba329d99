/** A thread that verifies packs; started by verify-pool.ts. */
import { parentPort } from "node:worker_threads";
import type { KeyRing } from "../crypto/key-ring.ts";
import { HoldfastError } from "../errors.ts";
import { asBuffer } from "../format/codec.ts";
import { beginWorker } from "../platform/worker-threads.ts";
import { type Failure, failureOf } from "../wire/failure.ts";
import { createPackVerifier, mapKeyRing } from "./verify-pack.ts";

export interface VerifyTask {
  readonly number: number;
  readonly ring: KeyRing;
  readonly id: string;
  /** Comes over, and goes back. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface VerifyReply {
  readonly number: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Why the pack is refused; undefined where it is good. */
  readonly failure: Failure | undefined;
}

const port = parentPort;
if (port === null) throw new Error("this module is only good as a worker thread");
beginWorker();

port.on("message", (task: VerifyTask) => {
  const { number, bytes } = task;
  const failure = verify(task);
  port.postMessage({ number, bytes, failure } satisfies VerifyReply, [bytes.buffer]);
});

function verify({ ring, id, bytes }: VerifyTask): Failure | undefined {
  try {
    // Between threads buffers become plain arrays of bytes.
    createPackVerifier(mapKeyRing(ring, asBuffer))({ id, bytes: asBuffer(bytes) });
    return undefined;
  } catch (error) {
    // A fault of our own ends the thread, and tells all of itself.
    if (!(error instanceof HoldfastError)) throw error;
    return failureOf(error);
  }
}
