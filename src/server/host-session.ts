/** One connection of a host: says hello, and answers requests from the host's guarded storage. */
import { HoldfastError, ObjectMissingError, ProtocolError, RefusedError } from "../errors.ts";
import { PREFIXES } from "../format/names.ts";
import { checkRange } from "../storage/object-name.ts";
import type { Storage, StoredObject } from "../storage/storage.ts";
import { malformed } from "../wire/bytes.ts";
import type { Connection } from "../wire/connection.ts";
import {
  type AgentHello,
  commonVersion,
  decodeAgentHello,
  encodeHello,
  type ServerHello,
  VERSION,
} from "../wire/hello.ts";
import { buildListing, encodeBucketCount, missingBuckets } from "../wire/listing.ts";
import type { Message } from "../wire/message.ts";
import { answerRequests, type AnswerOptions, type IncomingRequest } from "../wire/requests.ts";
import {
  decodeGetRequest,
  decodeListRequest,
  decodeNameRequest,
  decodePutRequest,
  encodeHeldAnswer,
  encodeLength,
  encodePutAnswer,
  encodeStatAnswer,
  METHODS,
} from "../wire/storage-calls.ts";
import type { AdmittedHost, HostDirectory } from "./host-directory.ts";
import type { HostSessions, ServedSession } from "./host-sessions.ts";
import type { IncomingUploads } from "./incoming-uploads.ts";
import { publicError } from "./public-error.ts";
import { createSlots } from "./slots.ts";

export interface HostSessionOptions extends AnswerOptions {
  readonly directory: HostDirectory;
  readonly sessions: HostSessions;
  readonly uploads: IncomingUploads;
  /** Name and version, told to agents. */
  readonly program: string;
  /** How long an agent may take for its hello. */
  readonly helloMs?: number;
}

const HELLO_MS = 20_000;

/** Serves the host until the connection is over. Never rejects: what goes wrong is told to the agent, and observed. */
export async function serveHost(connection: Connection, hostName: string, options: HostSessionOptions): Promise<void> {
  const messages = connection.messages();
  try {
    const hello = await receiveHello(connection, messages, options.helloMs ?? HELLO_MS);
    if (hello.purpose === "ask") return await answerAsker(connection, messages, hello, hostName, options);
    const { host, session } = await enter(connection, hello, hostName, options);
    let problem: unknown;
    try {
      const { ticket, startedMs } = session;
      connection.send({ kind: "hello", json: encodeHello(serverHello(hello, host, options, { ticket, startedMs })) });
      const { count, refused } = session;
      const calls = { host: host.name, uploads: options.uploads, count, refused, failed: options.onFault };
      const answerInTurn = createAnswerer(session.storage, calls);
      await answerRequests(connection, messages, answerInTurn, options);
    } catch (error) {
      problem = error;
    }
    await session.leave(problem);
  } catch (error) {
    if (!(error instanceof HoldfastError)) options.onFault?.(error);
    connection.close(error);
  }
}

async function enter(
  connection: Connection,
  hello: AgentHello,
  hostName: string,
  { directory, sessions, onFault }: HostSessionOptions,
): Promise<{ host: AdmittedHost; session: ServedSession }> {
  try {
    const host = await directory.admitHost(hostName);
    return { host, session: await sessions.enter(host, hello, connection) };
  } catch (error) {
    const told = publicError(error);
    if (told !== error) onFault?.(error);
    if (hello.purpose === "backup" && told instanceof RefusedError) directory.refused?.(hostName, told);
    throw told;
  }
}

/** Tells a host what it shall save and when, and nothing else. */
async function answerAsker(
  connection: Connection,
  messages: AsyncGenerator<Message>,
  hello: AgentHello,
  hostName: string,
  options: HostSessionOptions,
): Promise<void> {
  const host = await options.directory.admitHost(hostName);
  const next = await options.directory.asked?.(hostName);
  const answered = serverHello(hello, host, options, { ticket: "", startedMs: Date.now() });
  const json = encodeHello({
    ...answered,
    ...(next && { nextRunMs: Math.max(0, Math.floor(next.nextRunMs)), wanted: next.wanted }),
  });
  connection.send({ kind: "hello", json });
  await answerRequests(
    connection,
    messages,
    () => Promise.reject(new RefusedError("this session is for asking only")),
    options,
  );
}

function serverHello(
  hello: AgentHello,
  { name, policy }: AdmittedHost,
  { program }: HostSessionOptions,
  session: Pick<ServerHello, "ticket" | "startedMs">,
): ServerHello {
  const version = commonVersion(VERSION, hello.version);
  // Agents of 1.0 take no hello that is as long as one with a policy may be.
  return { version, program, host: name, ...session, nowMs: Date.now(), ...(version.minor >= 1 && { policy }) };
}

async function receiveHello(
  connection: Connection,
  messages: AsyncGenerator<Message>,
  helloMs: number,
): Promise<AgentHello> {
  const late = setTimeout(() => connection.close(new ProtocolError("the agent said nothing")), helloMs);
  try {
    const first = await messages.next();
    if (first.done === true || first.value.kind !== "hello") throw malformed("it does not begin with a hello");
    return decodeAgentHello(first.value.json);
  } finally {
    clearTimeout(late);
  }
}

/** A storage that can say beforehand whether it would take an object. */
export type ServedStorage = Storage & {
  mayPut?(name: string, sizeBytes: number): Promise<boolean>;
  /**
   * Asked before content is taken; throws where quota or space do not allow it. What it gives is called when the object is
   * stored or dropped, with the bytes that have come.
   */
  admit?(name: string, sizeBytes: number): Promise<(arrivedBytes: number) => void>;
};

export interface StorageCallOptions {
  readonly host: string;
  readonly uploads: IncomingUploads;
  /** Told how many bytes of content have arrived. */
  count?(receivedBytes: number): void;
  /** Told of what the host was refused to store. */
  refused?(error: RefusedError): void;
  /** Told of the storage's own failures, of which the host hears little. */
  failed?(error: unknown): void;
}

/** How much of an object is in memory at once on its way out. */
const READ_BYTES = 1024 * 1024;
/** And of how many objects for one connection. */
const READS_AT_ONCE = 8;

/** Answers the requests of one connection from a storage. */
export function createAnswerer(
  storage: ServedStorage,
  options: StorageCallOptions,
): (request: IncomingRequest) => Promise<void> {
  let lists: Promise<unknown> = Promise.resolve();
  const reads = createSlots(READS_AT_ONCE);
  return async (request) => {
    try {
      await inTurn(request);
    } catch (error) {
      const told = publicError(error);
      if (told !== error) options.failed?.(error);
      throw told;
    }
  };

  function inTurn(request: IncomingRequest): Promise<void> {
    if (request.method === METHODS.get) return reads.run(() => answer(request, storage, options));
    if (request.method !== METHODS.list) return answer(request, storage, options);
    // One after another, as whoever asks for several may rest on their order: condemned packs before packs.
    const turn = lists.then(() => answer(request, storage, options));
    lists = turn.catch(() => undefined);
    return turn;
  }
}

async function answer(request: IncomingRequest, storage: ServedStorage, options: StorageCallOptions): Promise<void> {
  const { method, body } = request;
  switch (method) {
    case METHODS.list:
      return answerList(request, storage);
    case METHODS.get:
      return answerGet(request, storage);
    case METHODS.stat:
      return request.answer(encodeStatAnswer(wireStat(await storage.stat(decodeNameRequest(body)))));
    case METHODS.put:
      return answerPut(request, storage, options);
    case METHODS.held:
      return answerHeld(request, storage, options);
    case METHODS.delete:
      await storage.delete(decodeNameRequest(body));
      return request.answer(Buffer.alloc(0));
    default:
      throw malformed(`a request ${method} that is unknown`);
  }
}

/** Whole milliseconds: some discs tell parts of one. */
function wireStat(object: StoredObject | undefined): StoredObject | undefined {
  return object && { ...object, modifiedMs: Math.max(0, Math.floor(object.modifiedMs)) };
}

async function answerList(request: IncomingRequest, storage: ServedStorage): Promise<void> {
  const { prefix, held } = decodeListRequest(request.body);
  const objects: StoredObject[] = [];
  for await (const object of storage.list(prefix)) objects.push(wireStat(object)!);
  const listing = buildListing(prefix, objects);
  request.answer(encodeBucketCount(listing));
  for (const part of missingBuckets(listing, held)) await request.send(part);
}

async function answerGet(request: IncomingRequest, storage: ServedStorage): Promise<void> {
  const { name, range } = decodeGetRequest(request.body);
  const sizeBytes = range === undefined ? await sizeOf(storage, name) : undefined;
  const { offset, length } = range ?? { offset: 0, length: sizeBytes! };
  const firstLength = Math.min(length, READ_BYTES);
  // Where it is more than one read, the end is looked for first, so that no answer breaks off for want of bytes.
  if (range !== undefined && length > firstLength) checkRange(name, range, await sizeOf(storage, name));
  let piece = await storage.get(name, { offset, length: firstLength });
  request.answer(encodeLength(length));
  for (let done = 0; done < length;) {
    await request.send(piece);
    done += piece.length;
    if (done < length) {
      piece = await storage.get(name, { offset: offset + done, length: Math.min(READ_BYTES, length - done) });
    }
  }
}

async function sizeOf(storage: ServedStorage, name: string): Promise<number> {
  const found = await storage.stat(name);
  if (found !== undefined) return found.sizeBytes;
  // Says so itself, in its own words.
  await storage.get(name);
  throw new ObjectMissingError(`${name} is not in the repository`);
}

async function answerPut(request: IncomingRequest, storage: ServedStorage, options: StorageCallOptions): Promise<void> {
  try {
    await takePut(request, storage, options);
  } catch (error) {
    const told = publicError(error);
    if (told instanceof RefusedError) options.refused?.(told);
    throw error;
  }
}

async function takePut(
  request: IncomingRequest,
  storage: ServedStorage,
  { host, uploads, count }: StorageCallOptions,
): Promise<void> {
  const { name, sizeBytes, offset } = decodePutRequest(request.body);
  const wanted = (await storage.mayPut?.(name, sizeBytes)) ?? true;
  let stored = false;
  if (wanted) {
    const release = await storage.admit?.(name, sizeBytes - offset);
    let arrivedBytes = 0;
    const content = counted(request.upload(), (bytes) => {
      arrivedBytes += bytes;
      count?.(bytes);
    });
    try {
      stored = await uploads.receive({ host, name, sizeBytes, offset, content }, (bytes) => storage.put(name, [bytes]));
    } finally {
      release?.(arrivedBytes);
    }
  }
  // A run that has come to its end goes on with nothing: what is left was stored before, or is not wanted any more.
  if (name.startsWith(PREFIXES.snapshot)) await uploads.forget(host);
  const found = wireStat(await storage.stat(name));
  request.answer(encodePutAnswer({ stored, modifiedMs: found?.modifiedMs ?? 0 }));
}

async function* counted(
  content: AsyncIterable<Uint8Array>,
  count: (receivedBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of content) {
    count(piece.length);
    yield piece;
  }
}

async function answerHeld(
  request: IncomingRequest,
  storage: ServedStorage,
  { host, uploads }: StorageCallOptions,
): Promise<void> {
  const { name, sizeBytes } = decodePutRequest(request.body);
  const wanted = (await storage.mayPut?.(name, sizeBytes)) ?? (await storage.stat(name)) === undefined;
  const bytes = wanted ? Math.min(await uploads.heldBytes(host, name), sizeBytes) : 0;
  request.answer(encodeHeldAnswer({ stored: !wanted, bytes }));
}
