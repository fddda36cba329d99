import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import type { KeyRing } from "../crypto/key-ring.ts";
import { messageOf } from "../errors.ts";
import { asBuffer } from "../format/codec.ts";
import { endWorker, startWorker } from "../platform/worker-threads.ts";
import { errorOf } from "../wire/failure.ts";
import type { PackToVerify } from "./host-directory.ts";
import { mapKeyRing } from "./verify-pack.ts";
import type { VerifyReply, VerifyTask } from "./verify-worker.ts";

/** Threads in which packs of all hosts are verified, so that the one that serves connections has time for them. */
export interface VerifyPool {
  /** As `Account.verifyPack`. The ring must be a full one. */
  verifierOf(ring: KeyRing): (pack: PackToVerify) => Promise<Buffer>;
  close(): Promise<void>;
}

const MAXIMUM_THREADS = 8;

interface Waiter {
  resolve(bytes: Buffer): void;
  reject(error: unknown): void;
}

interface Member {
  readonly worker: Worker;
  readonly waiting: Map<number, Waiter>;
}

/** Threads start when there is something to verify, and a thread that has died is started anew. */
export function createVerifyPool(threads = Math.min(availableParallelism(), MAXIMUM_THREADS)): VerifyPool {
  const members: Member[] = [];
  let nextNumber = 1;

  function startMember(): Member {
    const worker = startWorker(new URL("./verify-worker.ts", import.meta.url), undefined, {
      resourceLimits: { maxYoungGenerationSizeMb: 3 },
    });
    // A server that has nothing else to do may end.
    worker.unref();
    const member: Member = { worker, waiting: new Map() };
    worker.on("message", ({ number, bytes, failure }: VerifyReply) => {
      const waiter = member.waiting.get(number);
      member.waiting.delete(number);
      if (failure === undefined) waiter?.resolve(asBuffer(bytes));
      else waiter?.reject(errorOf(failure));
    });
    let problem: unknown;
    worker.on("error", (error) => (problem = error));
    worker.on("exit", (code) => {
      members.splice(members.indexOf(member), 1);
      const told = problem === undefined ? `code ${code}` : messageOf(problem);
      for (const waiter of member.waiting.values()) {
        waiter.reject(new Error(`a thread that verifies packs has ended: ${told}`, { cause: problem }));
      }
    });
    members.push(member);
    return member;
  }

  /** One that has nothing to do, a new one, or the one with least. */
  function chooseMember(): Member {
    const idle = members.find(({ waiting }) => waiting.size === 0);
    if (idle !== undefined) return idle;
    if (members.length < threads) return startMember();
    return members.reduce((best, member) => (member.waiting.size < best.waiting.size ? member : best));
  }

  return {
    verifierOf(given) {
      const ring = mapKeyRing(given, copyOf);
      return ({ id, bytes: content }) =>
        new Promise((resolve, reject) => {
          const { worker, waiting } = chooseMember();
          const number = nextNumber++;
          const bytes = withItsOwn(content);
          waiting.set(number, { resolve, reject });
          worker.postMessage({ number, ring, id, bytes } satisfies VerifyTask, [bytes.buffer]);
        });
    },
    async close() {
      await Promise.all(members.map(({ worker }) => endWorker(worker)));
    },
  };
}

/** Small buffers share memory with others, which would go along with them. */
function withItsOwn(bytes: Buffer): Buffer<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = bytes;
  const alone = byteOffset === 0 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer;
  return alone ? (bytes as Buffer<ArrayBuffer>) : copyOf(bytes);
}

function copyOf(bytes: Uint8Array): Buffer<ArrayBuffer> {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
