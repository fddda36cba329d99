/**
 * The repository behind a server, as a storage: what the agent's engine works on. The server decides what of it is there.
 *
 * A broken connection is made anew, and what was asked is asked again: reading may be repeated, and what is stored is
 * named by its content. Of an upload that broke off only the rest is sent.
 */
import { setTimeout as wait } from "node:timers/promises";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { BusyError, ConnectionError, DamagedError } from "../errors.ts";
import { CONFIG_NAME, parseObjectName, PREFIXES } from "../format/names.ts";
import { checkObjectName, checkPrefix, checkRange } from "../storage/object-name.ts";
import type { ByteRange, Storage, StoredObject } from "../storage/storage.ts";
import { malformed } from "../wire/bytes.ts";
import { type ByteChannel, type Connection, openConnection } from "../wire/connection.ts";
import { decodeServerHello, encodeHello, type ServerHello, type SessionPurpose, VERSION } from "../wire/hello.ts";
import { applyBuckets, bucketHashes, type Listing, MAXIMUM_LISTING_BYTES, objectsOf } from "../wire/listing.ts";
import type { Message } from "../wire/message.ts";
import { createRequester, type Requester } from "../wire/requests.ts";
import {
  decodeHeldAnswer,
  decodeLength,
  decodePutAnswer,
  decodeStatAnswer,
  encodeGetRequest,
  encodeListRequest,
  encodeNameRequest,
  encodePutRequest,
  METHODS,
} from "../wire/storage-calls.ts";
import { CACHED_PREFIXES, isCached, openObjectCache } from "./object-cache.ts";

export interface RemoteStorageOptions {
  /** Opens a new channel to the server; may throw `ConnectionError`. */
  readonly connect: () => ByteChannel | Promise<ByteChannel>;
  /** For people. */
  readonly location: string;
  readonly purpose: SessionPurpose;
  /** Name and version. */
  readonly program: string;
  /** A folder for what need not be fetched twice; of this server and repository alone. */
  readonly cacheFolder?: string | undefined;
  /** How long is waited before each try to connect again. */
  readonly retryDelaysMs?: readonly number[] | undefined;
  readonly onRetry?: ((error: unknown, delayMs: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
  readonly silenceMs?: number | undefined;
}

export interface RemoteStorage extends Storage {
  /** What the server said: the session's time among it. */
  readonly server: ServerHello;
  /** Over all connections. */
  readonly traffic: Traffic;
}

export interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Connections that were made. */
  readonly connections: number;
  /** Requests that were waited for one after another: about how many times the line's delay was paid. */
  readonly requests: number;
}

/** The first two are for a line that was only shaken, and a server that is started anew; then so many tries. */
export function retryDelaysMs(retries: number, afterMs: number): number[] {
  if (retries === 0) return [];
  return [Math.min(5000, afterMs), Math.min(30_000, afterMs), ...Array.from({ length: retries }, () => afterMs)];
}

export const RETRY_DELAYS_MS: readonly number[] = retryDelaysMs(5, 600_000);

/** What every run reads first, in its order: asked for along with the hello, so that it costs no further delay. */
const READ_FIRST: Readonly<Record<SessionPurpose, readonly string[]>> = {
  backup: [PREFIXES.snapshot, PREFIXES.condemned, PREFIXES.index, PREFIXES.pack],
  read: [PREFIXES.snapshot, PREFIXES.index],
};

interface Link {
  readonly connection: Connection;
  readonly requester: Requester;
  readonly hello: ServerHello;
}

/** Connects, and throws what the server says against it. */
export async function openRemoteStorage(options: RemoteStorageOptions): Promise<RemoteStorage> {
  const { location, purpose, signal } = options;
  const delaysMs = options.retryDelaysMs ?? RETRY_DELAYS_MS;
  const cache = options.cacheFolder === undefined ? undefined : openObjectCache(options.cacheFolder);
  const listings = new Map<string, Listing>();
  const early = new Map<string, Promise<unknown>>();
  const notes = new Map<string, StoredObject & { content: Uint8Array }>();
  const totals = { sentBytes: 0, receivedBytes: 0, connections: 0, requests: 0 };
  let link: Promise<Link>;
  let current: Connection | undefined;
  let ticket: string | undefined;
  let failures = 0;
  let closed = false;

  for (const prefix of READ_FIRST[purpose]) {
    const listing = await cache?.readListing(prefix);
    if (listing !== undefined) listings.set(prefix, listing);
  }

  async function connect(): Promise<Link> {
    signal?.throwIfAborted();
    const { uploadBytesPerSecond, downloadBytesPerSecond, silenceMs } = options;
    const limits = { uploadBytesPerSecond, downloadBytesPerSecond, ...(silenceMs !== undefined && { silenceMs }) };
    const connection = openConnection(await options.connect(), limits);
    current = connection;
    totals.connections++;
    const messages = connection.messages();
    const requester = createRequester(connection);
    const hello = {
      version: VERSION,
      program: options.program,
      purpose,
      ...(ticket !== undefined && { resume: ticket }),
    };
    connection.send({ kind: "hello", json: encodeHello(hello) });
    if (totals.connections === 1) askEarly(requester);
    const stop = (): void => connection.close();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const answered = await receiveHello(messages);
      ticket = answered.ticket;
      void requester.run(messages).finally(() => signal?.removeEventListener("abort", stop));
      return { connection, requester, hello: answered };
    } catch (error) {
      signal?.removeEventListener("abort", stop);
      requester.end(error);
      connection.close(error);
      throw error;
    }
  }

  function askEarly(requester: Requester): void {
    const asked: [string, Promise<unknown>][] = [
      [CONFIG_NAME, fetchObject(requester, CONFIG_NAME, undefined)],
      ...READ_FIRST[purpose].map((prefix): [string, Promise<unknown>] => [prefix, fetchListing(requester, prefix)]),
    ];
    totals.requests++;
    for (const [name, answer] of asked) {
      // Whoever asks for it asks again, and learns what is wrong.
      answer.catch(() => undefined);
      early.set(name, answer);
    }
  }

  /** What was asked for along with the hello; undefined where that failed, or somebody had it already. */
  async function takeEarly(name: string): Promise<unknown> {
    const asked = early.get(name);
    early.delete(name);
    return asked?.catch(() => undefined);
  }

  /** Does it over a new connection where the one at hand breaks. `tries` counts from 0. */
  async function persist<Result>(work: (link: Link, tries: number) => Promise<Result>): Promise<Result> {
    for (let tries = 0; ; tries++) {
      const used = link;
      try {
        const result = await work(await used, tries);
        failures = 0;
        return result;
      } catch (error) {
        signal?.throwIfAborted();
        const mayPass = error instanceof ConnectionError || error instanceof BusyError;
        if (!mayPass || closed) throw error;
        await reconnect(used, error);
      }
    }
  }

  /** Of all that see a connection break, the first waits and opens the next. */
  async function reconnect(broken: Promise<Link>, error: unknown): Promise<void> {
    if (link !== broken) return;
    if (failures >= delaysMs.length) throw error;
    const delayMs = delaysMs[failures++];
    addTraffic();
    options.onRetry?.(error, delayMs);
    link = wait(delayMs, undefined, { signal }).then(connect);
    // Whoever uses it next is told.
    link.catch(() => undefined);
  }

  function addTraffic(): void {
    totals.sentBytes += current?.traffic.sentBytes ?? 0;
    totals.receivedBytes += current?.traffic.receivedBytes ?? 0;
    current = undefined;
  }

  async function fetchListing(requester: Requester, prefix: string): Promise<StoredObject[]> {
    const held = listings.get(prefix);
    const parts: Buffer[] = [];
    let sizeBytes = 0;
    const answer = await requester.call({
      method: METHODS.list,
      body: encodeListRequest({ prefix, held: held === undefined ? [] : bucketHashes(held) }),
      onData(bytes) {
        sizeBytes += bytes.length;
        if (sizeBytes > MAXIMUM_LISTING_BYTES) throw malformed("a listing that does not end");
        parts.push(Buffer.from(bytes));
      },
    });
    const listing = applyBuckets(prefix, held, answer, Buffer.concat(parts));
    const objects = objectsOf(listing);
    if (!objects.every(({ name }) => name.startsWith(prefix))) throw malformed("a listing of something else");
    listings.set(prefix, listing);
    if (sizeBytes > 0) await cache?.writeListing(listing);
    if (sizeBytes > 0 && CACHED_PREFIXES.includes(prefix)) {
      await cache?.keepOnly(prefix, new Set(objects.map(({ name }) => name)));
    }
    return objects;
  }

  async function fetchObject(requester: Requester, name: string, range: ByteRange | undefined): Promise<Uint8Array> {
    let bytes = Buffer.alloc(0);
    let filled = 0;
    await requester.call({
      method: METHODS.get,
      body: encodeGetRequest({ name, range }),
      onAnswer(body) {
        const length = decodeLength(body, range?.length ?? MAXIMUM_OBJECT_BYTES);
        if (range !== undefined && length !== range.length) throw malformed("a range of another length");
        bytes = Buffer.allocUnsafeSlow(length);
      },
      onData(piece) {
        if (filled + piece.length > bytes.length) throw malformed("more of an object than there is");
        bytes.set(piece, filled);
        filled += piece.length;
      },
    });
    if (filled < bytes.length) throw malformed("less of an object than there is");
    return bytes;
  }

  async function get(name: string, range?: ByteRange): Promise<Uint8Array> {
    checkObjectName(name);
    if (range !== undefined) checkRange(name, range, Number.MAX_SAFE_INTEGER);
    const note = notes.get(name);
    if (note !== undefined) return new Uint8Array(note.content);
    if (range === undefined && isCached(name)) return getCached(name);
    const given = range === undefined ? await takeEarly(name) : undefined;
    if (given instanceof Uint8Array) return given;
    return request(({ requester }) => fetchObject(requester, name, range));
  }

  async function getCached(name: string): Promise<Uint8Array> {
    const kept = await cache?.get(name);
    if (kept !== undefined) return kept;
    const bytes = await request(({ requester }) => fetchObject(requester, name, undefined));
    if (sha256Hex(bytes) !== name.slice(name.indexOf("/") + 1)) {
      throw new DamagedError(`${name} is damaged: its bytes do not match its name`, { hint: 'run "holdfast check"' });
    }
    await cache?.put(name, [bytes]);
    return bytes;
  }

  function request<Result>(work: (link: Link, tries: number) => Promise<Result>): Promise<Result> {
    totals.requests++;
    return persist(work);
  }

  async function put(name: string, content: readonly Uint8Array[]): Promise<boolean> {
    checkObjectName(name);
    const sizeBytes = content.reduce((sum, part) => sum + part.length, 0);
    // The server notes the run itself, and has done so before it said hello.
    if (isNote(name)) return putNote(name, Buffer.concat(content), sizeBytes);
    early.clear();
    const stored = await request(async ({ requester }, tries) => {
      const head = { name, sizeBytes };
      let offset = 0;
      if (tries > 0) {
        const held = decodeHeldAnswer(
          await requester.call({ method: METHODS.held, body: encodePutRequest({ ...head, offset: 0 }) }),
        );
        // If it is there now, it is this one that has stored it, as far as one can tell.
        if (held.stored) return false;
        offset = Math.min(held.bytes, sizeBytes);
      }
      const body = encodePutRequest({ ...head, offset });
      const answer = await requester.call({ method: METHODS.put, body, upload: contentFrom(content, offset) });
      return decodePutAnswer(answer).stored;
    });
    if (isCached(name)) await cache?.put(name, content);
    return stored;
  }

  function putNote(name: string, content: Uint8Array, sizeBytes: number): boolean {
    if (notes.has(name)) return false;
    notes.set(name, { name, sizeBytes, modifiedMs: Date.now(), content });
    return true;
  }

  async function* list(prefix: string): AsyncGenerator<StoredObject> {
    checkPrefix(prefix);
    for (const note of notes.values()) if (note.name.startsWith(prefix)) yield note;
    const given = (await takeEarly(prefix)) as StoredObject[] | undefined;
    yield* given ?? (await request(({ requester }) => fetchListing(requester, prefix)));
  }

  link = connect();
  link.catch(() => undefined);
  const { hello } = await persist((opened) => Promise.resolve(opened));
  return {
    location,
    isTendedElsewhere: true,
    // While one pack is being made durable there, the next is on its way.
    putsAtOnce: 2,
    server: hello,
    get traffic() {
      return {
        ...totals,
        sentBytes: totals.sentBytes + (current?.traffic.sentBytes ?? 0),
        receivedBytes: totals.receivedBytes + (current?.traffic.receivedBytes ?? 0),
      };
    },
    put,
    get,
    list,
    async stat(name) {
      checkObjectName(name);
      const note = notes.get(name);
      if (note !== undefined) return { name, sizeBytes: note.sizeBytes, modifiedMs: note.modifiedMs };
      const body = encodeNameRequest(name);
      const found = await request(async ({ requester }) =>
        decodeStatAnswer(await requester.call({ method: METHODS.stat, body })),
      );
      return found && { name, ...found };
    },
    async delete(name) {
      checkObjectName(name);
      if (isNote(name)) return void notes.delete(name);
      early.clear();
      const body = encodeNameRequest(name);
      await request(({ requester }) => requester.call({ method: METHODS.delete, body }));
    },
    async close() {
      closed = true;
      const opened = await link.catch(() => undefined);
      opened?.connection.close();
    },
  };
}

function isNote(name: string): boolean {
  return parseObjectName(name)?.kind === "running";
}

/** Larger ones are read in parts. */
const MAXIMUM_OBJECT_BYTES = 512 * 1024 * 1024;

async function receiveHello(messages: AsyncGenerator<Message>): Promise<ServerHello> {
  const first = await messages.next();
  if (first.done === true) throw new ConnectionError("the server hung up without a word");
  if (first.value.kind !== "hello") throw malformed("it does not begin with a hello");
  return decodeServerHello(first.value.json);
}

/** The same content without its first bytes. */
function contentFrom(content: readonly Uint8Array[], offset: number): Uint8Array[] {
  let skip = offset;
  return content.flatMap((part) => {
    const skipped = Math.min(skip, part.length);
    skip -= skipped;
    return skipped === part.length ? [] : [part.subarray(skipped)];
  });
}
