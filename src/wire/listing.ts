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
  const parts: Buffer[][] = Array.from({ length: count }, () => []);
  for (const object of sorted) {
    const rest = object.name.slice(prefix.length);
    parts[count === 1 ? 0 : bucketOf(rest)].push(
      encodeName(rest),
      varint(object.sizeBytes),
      varint(Math.floor(object.modifiedMs)),
    );
  }
  return { prefix, buckets: parts.map((bucket) => Buffer.concat(bucket)) };
}

/** By the last two digits of an id; names of other kinds are few. */
function bucketOf(rest: string): number {
  const value = Number.parseInt(rest.slice(-2), 16);
  return Number.isNaN(value) ? 0 : value;
}

function encodeName(rest: string): Buffer {
  if (HEX_64.test(rest)) return Buffer.concat([Buffer.from([LONG_ID]), Buffer.from(rest, "hex")]);
  const pack = FOLDER_AND_HEX.exec(rest);
  if (pack !== null) return Buffer.concat([Buffer.from([FOLDER_AND_ID]), Buffer.from(pack[2], "hex")]);
  if (HEX_32.test(rest)) return Buffer.concat([Buffer.from([SHORT_ID]), Buffer.from(rest, "hex")]);
  return Buffer.concat([Buffer.from([TEXT]), wireText(rest)]);
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
