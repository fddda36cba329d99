/**
 * Listings that cost little when little has changed (docs/protocol.md, "Listings").
 *
 * The names below a prefix are divided among 1 or 256 buckets. An agent tells the hashes of the buckets that it holds, and
 * gets those that differ: an unchanged listing costs a hash, and one new pack among 60,000 a few kilobytes.
 */
import { createHash } from "node:crypto";
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
import { BUCKET_HASH_BYTES, type ListedObject } from "./storage-calls.ts";

/** Encoded objects by bucket: what is hashed, sent and kept. */
export interface Listing {
  readonly prefix: string;
  readonly buckets: readonly Buffer[];
}

/** Beyond this many objects a listing has 256 buckets. */
const OBJECTS_IN_ONE_BUCKET = 512;
const BUCKETS = 256;
/** A listing of more bytes is refused: four million packs. */
export const MAXIMUM_LISTING_BYTES = 256 * 1024 * 1024;

const HEX_64 = /^[0-9a-f]{64}$/;
const HEX_32 = /^[0-9a-f]{32}$/;
const FOLDER_AND_HEX = /^([0-9a-f]{2})\/(\1[0-9a-f]{62})$/;

/** Ways to write a name. */
const TEXT = 0;
const LONG_ID = 1;
const SHORT_ID = 2;
const FOLDER_AND_ID = 3;

/** The listing of these objects, all of which begin with `prefix`. Equal sets give equal bytes. */
export function buildListing(prefix: string, objects: readonly ListedObject[]): Listing {
  const count = objects.length > OBJECTS_IN_ONE_BUCKET ? BUCKETS : 1;
  const sorted = objects.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  // At most: a name in UTF-8 with its kind and length, and two numbers of eight bytes.
  const output = Buffer.allocUnsafe(sorted.reduce((sum, { name }) => sum + name.length * 3 + 4 + 16, 0));
  const parts: Buffer[][] = Array.from({ length: count }, () => []);
  let at = 0;
  for (const object of sorted) {
    const rest = object.name.slice(prefix.length);
    const start = at;
    at = writeName(output, at, rest);
    at = writeVarint(output, at, object.sizeBytes);
    at = writeVarint(output, at, Math.floor(object.modifiedMs));
    parts[count === 1 ? 0 : bucketOf(rest)].push(output.subarray(start, at));
  }
  return { prefix, buckets: parts.map((bucket) => Buffer.concat(bucket)) };
}

function writeVarint(output: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) output[at++] = (rest % 128) | 0x80;
  output[at++] = rest;
  return at;
}

/** By the last two digits of an id; names of other kinds are few. */
function bucketOf(rest: string): number {
  const value = Number.parseInt(rest.slice(-2), 16);
  return Number.isNaN(value) ? 0 : value;
}

/** Gives where the name ends. */
function writeName(output: Buffer, at: number, rest: string): number {
  if (rest.length === 67 && FOLDER_AND_HEX.test(rest)) return writeId(output, at, FOLDER_AND_ID, rest.slice(3));
  if (rest.length === 64 && HEX_64.test(rest)) return writeId(output, at, LONG_ID, rest);
  if (rest.length === 32 && HEX_32.test(rest)) return writeId(output, at, SHORT_ID, rest);
  const text = wireText(rest);
  output[at] = TEXT;
  output.set(text, at + 1);
  return at + 1 + text.length;
}

function writeId(output: Buffer, at: number, kind: number, digits: string): number {
  output[at] = kind;
  return at + 1 + output.write(digits, at + 1, "hex");
}

/** The objects of a listing. Throws `ProtocolError`. */
export function objectsOf({ prefix, buckets }: Listing): ListedObject[] {
  return buckets.flatMap((bucket) => decodeBucket(prefix, bucket));
}

function decodeBucket(prefix: string, bytes: Uint8Array): ListedObject[] {
  const input = wireReader(bytes);
  const objects: ListedObject[] = [];
  while (input.at < input.bytes.length) {
    const name = prefix + takeName(input);
    objects.push({ name, sizeBytes: takeVarint(input), modifiedMs: takeVarint(input) });
  }
  return objects;
}

function takeName(input: ReturnType<typeof wireReader>): string {
  const kind = takeU8(input);
  switch (kind) {
    case TEXT:
      return takeText(input, 200);
    case LONG_ID:
      return takeRaw(input, 32).toString("hex");
    case SHORT_ID:
      return takeRaw(input, 16).toString("hex");
    case FOLDER_AND_ID: {
      const id = takeRaw(input, 32).toString("hex");
      return `${id.slice(0, 2)}/${id}`;
    }
    default:
      throw malformed(`a name of kind ${kind}`);
  }
}

/** What an agent tells of a listing that it holds. */
export function bucketHashes({ buckets }: Listing): Buffer[] {
  return buckets.map(hashOf);
}

function hashOf(bucket: Uint8Array): Buffer {
  return createHash("sha256").update(bucket).digest().subarray(0, BUCKET_HASH_BYTES);
}

/** The buckets that an agent with these hashes lacks, in pieces to send; the answer before them is `encodeBucketCount`. */
export function* missingBuckets(listing: Listing, held: readonly Buffer[]): Generator<Buffer, undefined> {
  const { buckets } = listing;
  for (const [number, bucket] of buckets.entries()) {
    if (held.length === buckets.length && hashOf(bucket).equals(held[number])) continue;
    yield Buffer.concat([Buffer.from([number]), varint(bucket.length), bucket]);
  }
}

export function encodeBucketCount({ buckets }: Listing): Buffer {
  return varint(buckets.length);
}

/** The listing from what an agent held and what it was sent. Throws `ProtocolError`. */
export function applyBuckets(prefix: string, held: Listing | undefined, answer: Uint8Array, sent: Uint8Array): Listing {
  const head = wireReader(answer);
  const count = takeVarint(head, BUCKETS);
  expectNoMore(head);
  if (count !== 1 && count !== BUCKETS) throw malformed(`a listing in ${count} parts`);
  const base = held?.buckets.length === count ? held.buckets : undefined;
  const buckets: (Buffer | undefined)[] = base === undefined ? Array.from({ length: count }) : [...base];
  const input = wireReader(sent);
  while (input.at < input.bytes.length) {
    const number = takeU8(input);
    if (number >= count) throw malformed(`part ${number} of a listing in ${count}`);
    // A copy: the bucket is kept longer than what it came in.
    buckets[number] = Buffer.from(takeRaw(input, takeVarint(input, MAXIMUM_LISTING_BYTES)));
  }
  const whole = buckets.map((bucket) => bucket ?? fail());
  return { prefix, buckets: whole };
}

function fail(): never {
  throw malformed("a part of a listing is missing");
}
