import { setTimeout as wait } from "node:timers/promises";
import { StorageError } from "../errors.ts";
import type { ByteRange, Storage, StoredObject } from "./storage.ts";

export type StorageMethod = "put" | "get" | "list" | "stat" | "delete";

/** One call, as it came in. */
export interface StorageCall {
  readonly method: StorageMethod;
  /** The object's name; of a list, the prefix. */
  readonly name: string;
  /** How many calls there were before this one. */
  readonly index: number;
  /** How many calls of this method there were before this one. */
  readonly indexOfMethod: number;
}

/** What is to go wrong with one call. Several may be given at once; a delay comes first. */
export interface Fault {
  readonly delayMs?: number;
  /** The call fails without having done anything. */
  readonly failBefore?: Error;
  /** The call does its work (of a list: gives all its objects), and then fails: a lost acknowledgement. */
  readonly failAfter?: Error;
  /** A get gives no more than so many bytes, as if that were all that was asked for. */
  readonly truncateToBytes?: number;
  /** A get gives this byte (counted from the start of what it gives, modulo its length) with its bits flipped. */
  readonly flipByteAt?: number;
}

export interface FaultyStorage extends Storage {
  /** Every call so far, in order. */
  readonly calls: readonly StorageCall[];
}

/**
 * Puts faults before a storage, for tests. `plan` is asked at each call what is to go wrong with it; see `atCall`.
 *
 *     const storage = faultyStorage(memoryStorage(), atCall(3, { failBefore: discFull() }));
 */
export function faultyStorage(inner: Storage, plan: (call: StorageCall) => Fault | undefined): FaultyStorage {
  const calls: StorageCall[] = [];
  const callsOfMethod: Partial<Record<StorageMethod, number>> = {};

  async function begin(method: StorageMethod, name: string): Promise<Fault> {
    const indexOfMethod = callsOfMethod[method] ?? 0;
    callsOfMethod[method] = indexOfMethod + 1;
    const call = { method, name, index: calls.length, indexOfMethod };
    calls.push(call);
    const fault = plan(call) ?? {};
    if (fault.delayMs !== undefined) await wait(fault.delayMs);
    if (fault.failBefore !== undefined) throw fault.failBefore;
    return fault;
  }

  async function faulty<Result>(method: StorageMethod, name: string, work: () => Promise<Result>): Promise<Result> {
    const fault = await begin(method, name);
    const result = await work();
    if (fault.failAfter !== undefined) throw fault.failAfter;
    return result;
  }

  async function get(name: string, range?: ByteRange): Promise<Uint8Array> {
    const { truncateToBytes, flipByteAt, failAfter } = await begin("get", name);
    const bytes = (await inner.get(name, range)).slice(0, truncateToBytes);
    if (failAfter !== undefined) throw failAfter;
    if (flipByteAt !== undefined && bytes.byteLength > 0) bytes[flipByteAt % bytes.byteLength] ^= 0xff;
    return bytes;
  }

  async function* list(prefix: string): AsyncGenerator<StoredObject> {
    const { failAfter } = await begin("list", prefix);
    yield* inner.list(prefix);
    if (failAfter !== undefined) throw failAfter;
  }

  return {
    location: inner.location,
    calls,
    put: (name, content) => faulty("put", name, () => inner.put(name, content)),
    get,
    list,
    stat: (name) => faulty("stat", name, () => inner.stat(name)),
    delete: (name) => faulty("delete", name, () => inner.delete(name)),
    close: () => inner.close(),
  };
}

/** The plan in which the call number `index` (from 0; of one method, if that is given) meets with a fault. */
export function atCall(index: number, fault: Fault, method?: StorageMethod): (call: StorageCall) => Fault | undefined {
  return (call) => {
    if (method === undefined) return call.index === index ? fault : undefined;
    return call.method === method && call.indexOfMethod === index ? fault : undefined;
  };
}

export function discFull(): StorageError {
  return storageFailure("ENOSPC", "the disc is full");
}

export function inputOutputError(): StorageError {
  return storageFailure("EIO", "the disc reports an input/output error");
}

function storageFailure(errno: string, what: string): StorageError {
  const cause = Object.assign(new Error(`${errno}: injected`), { code: errno });
  return new StorageError(`${what} (${errno})`, { cause });
}
