/** The requests that stand for calls of the Storage port (docs/protocol.md, "Requests"). */
import {
  expectNoMore,
  malformed,
  takeRaw,
  takeText,
  takeU8,
  takeVarint,
  varint,
  wireReader,
  wireText,
} from "./bytes.ts";

export const METHODS = { list: 1, get: 2, stat: 3, put: 4, held: 5, delete: 6 } as const;

const MAXIMUM_NAME_BYTES = 200;

/** What a listing says of an object. Times in whole ms since 1970. */
export interface ListedObject {
  readonly name: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export interface GetRequest {
  readonly name: string;
  readonly range: { readonly offset: number; readonly length: number } | undefined;
}

export interface PutRequest {
  readonly name: string;
  /** Of the whole object. */
  readonly sizeBytes: number;
  /** How much of it the server holds already, by `held`: what is sent begins there. */
  readonly offset: number;
}

export interface PutAnswer {
  /** False where the object was there. */
  readonly stored: boolean;
  readonly modifiedMs: number;
}

export interface HeldAnswer {
  /** The object is there already. */
  readonly stored: boolean;
  /** How much of it an upload that broke off has left. */
  readonly bytes: number;
}

export function encodeNameRequest(name: string): Buffer {
  return wireText(name);
}

export function decodeNameRequest(body: Uint8Array): string {
  const input = wireReader(body);
  const name = takeText(input, MAXIMUM_NAME_BYTES);
  expectNoMore(input);
  return name;
}

export function encodeGetRequest({ name, range }: GetRequest): Buffer {
  if (range === undefined) return Buffer.concat([wireText(name), Buffer.from([0])]);
  return Buffer.concat([wireText(name), Buffer.from([1]), varint(range.offset), varint(range.length)]);
}

export function decodeGetRequest(body: Uint8Array): GetRequest {
  const input = wireReader(body);
  const name = takeText(input, MAXIMUM_NAME_BYTES);
  const range = takeFlag(input) ? { offset: takeVarint(input), length: takeVarint(input) } : undefined;
  expectNoMore(input);
  return { name, range };
}

/** How many bytes follow the answer to `get`. */
export function encodeLength(length: number): Buffer {
  return varint(length);
}

export function decodeLength(body: Uint8Array, maximum: number): number {
  const input = wireReader(body);
  const length = takeVarint(input, maximum);
  expectNoMore(input);
  return length;
}

export function encodeStatAnswer(found: Omit<ListedObject, "name"> | undefined): Buffer {
  if (found === undefined) return Buffer.from([0]);
  return Buffer.concat([Buffer.from([1]), varint(found.sizeBytes), varint(found.modifiedMs)]);
}

export function decodeStatAnswer(body: Uint8Array): Omit<ListedObject, "name"> | undefined {
  const input = wireReader(body);
  const found = takeFlag(input) ? { sizeBytes: takeVarint(input), modifiedMs: takeVarint(input) } : undefined;
  expectNoMore(input);
  return found;
}

export function encodePutRequest({ name, sizeBytes, offset }: PutRequest): Buffer {
  return Buffer.concat([wireText(name), varint(sizeBytes), varint(offset)]);
}

export function decodePutRequest(body: Uint8Array): PutRequest {
  const input = wireReader(body);
  const name = takeText(input, MAXIMUM_NAME_BYTES);
  const sizeBytes = takeVarint(input);
  const offset = takeVarint(input, sizeBytes);
  expectNoMore(input);
  return { name, sizeBytes, offset };
}

export function encodePutAnswer({ stored, modifiedMs }: PutAnswer): Buffer {
  return Buffer.concat([Buffer.from([stored ? 1 : 0]), varint(modifiedMs)]);
}

export function decodePutAnswer(body: Uint8Array): PutAnswer {
  const input = wireReader(body);
  const answer = { stored: takeFlag(input), modifiedMs: takeVarint(input) };
  expectNoMore(input);
  return answer;
}

export function encodeHeldAnswer({ stored, bytes }: HeldAnswer): Buffer {
  return Buffer.concat([Buffer.from([stored ? 1 : 0]), varint(bytes)]);
}

export function decodeHeldAnswer(body: Uint8Array): HeldAnswer {
  const input = wireReader(body);
  const answer = { stored: takeFlag(input), bytes: takeVarint(input) };
  expectNoMore(input);
  return answer;
}

export interface ListRequest {
  readonly prefix: string;
  /** Hashes of the buckets that the agent holds from before, 8 bytes each: 0, 1 or 256 of them. */
  readonly held: readonly Buffer[];
}

export const BUCKET_HASH_BYTES = 8;

export function encodeListRequest({ prefix, held }: ListRequest): Buffer {
  return Buffer.concat([wireText(prefix), varint(held.length), ...held]);
}

export function decodeListRequest(body: Uint8Array): ListRequest {
  const input = wireReader(body);
  const prefix = takeText(input, MAXIMUM_NAME_BYTES + 1);
  const count = takeVarint(input, 256);
  if (count !== 0 && count !== 1 && count !== 256) throw malformed(`a listing in ${count} parts`);
  const held = Array.from({ length: count }, () => takeRaw(input, BUCKET_HASH_BYTES));
  expectNoMore(input);
  return { prefix, held };
}

function takeFlag(input: ReturnType<typeof wireReader>): boolean {
  const flag = takeU8(input);
  if (flag > 1) throw malformed(`${flag} where 0 or 1 is expected`);
  return flag === 1;
}
