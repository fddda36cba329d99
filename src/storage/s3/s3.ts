import { DamagedError, NoRepositoryError, StorageError, UsageError } from "../../errors.ts";
import { checkObjectName, checkPrefix, checkRange, isObjectName, objectMissing } from "../object-name.ts";
import type { Pace } from "../pace.ts";
import type { ByteRange, Storage, StoredObject } from "../storage.ts";
import { s3Client, S3Refusal } from "./client.ts";
import type { S3Client } from "./client.ts";
import { readListPage } from "./list-page.ts";

/*
 * Objects of an S3 bucket, below a prefix. S3 shows an object only when it is whole and stored in several places, so
 * its answer to a PUT is the acknowledgement. What is left to do here: "If-None-Match: *", by which a PUT never
 * replaces an object. Servers that do not know it yet ignore it or refuse it; so it is asked before whether the object
 * is there, and on those servers alone two PUTs of one name at the same moment could both be done.
 */

/** Where a repository lies on an S3 server. */
export interface S3Place {
  /** Scheme, host and port. */
  readonly endpoint: URL;
  readonly bucket: string;
  /** Without slashes at its ends; empty for the top of the bucket. */
  readonly prefix: string;
}

/** About 70 s in all. */
const RETRY_DELAYS_MS: readonly number[] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 40_000];

/** Of a mistyped address or a wrong key, people want to hear at once. */
const TRIES_AT_FIRST = 3;

/** Opens the storage in a bucket. `NoRepositoryError` where there is no such bucket. */
export async function openS3Storage(place: S3Place, retryDelaysMs = RETRY_DELAYS_MS, pace?: Pace): Promise<Storage> {
  const client = clientFor(place, retryDelaysMs, pace);
  try {
    await insistOnBucket(place, client);
  } catch (error) {
    client.close();
    throw error;
  }
  return storageIn(place, client);
}

/** As `openS3Storage`; the bucket is made where it is not there. */
export async function createS3Storage(place: S3Place, retryDelaysMs = RETRY_DELAYS_MS, pace?: Pace): Promise<Storage> {
  const client = clientFor(place, retryDelaysMs, pace);
  try {
    await insistOnBucket(place, client).catch(async (error: unknown) => {
      if (!(error instanceof NoRepositoryError)) throw error;
      await makeBucket(place, client);
    });
  } catch (error) {
    client.close();
    throw error;
  }
  return storageIn(place, client);
}

async function insistOnBucket(place: S3Place, client: S3Client): Promise<void> {
  const query = { ...listQuery(place, ""), "max-keys": "1" };
  try {
    await client.send({ method: "GET", path: bucketPath(place), query }, TRIES_AT_FIRST);
  } catch (error) {
    if (!(error instanceof S3Refusal) || error.status !== 404) throw error;
    throw new NoRepositoryError(`there is no repository at ${locationOf(place)}: there is no such bucket`, {
      hint: 'a new repository, and its bucket, is made by "holdfast init"',
      cause: error,
    });
  }
}

async function makeBucket(place: S3Place, client: S3Client): Promise<void> {
  const region = regionOf(place);
  // The first region is the only one that must not be named.
  const body = region === DEFAULT_REGION ? [] : [Buffer.from(bucketConfiguration(region))];
  try {
    await client.send({ method: "PUT", path: bucketPath(place), body });
  } catch (error) {
    if (!(error instanceof S3Refusal) || error.s3Code !== "BucketAlreadyOwnedByYou") throw error;
  }
}

/** For people and logs: as it is given on the command line. */
export function locationOf({ endpoint, bucket, prefix }: S3Place): string {
  return `s3:${endpoint.origin}/${bucket}${prefix === "" ? "" : `/${prefix}`}`;
}

function storageIn(place: S3Place, client: S3Client): Storage {
  const location = locationOf(place);
  const pathOf = (name: string): string => `${bucketPath(place)}/${escapePath(keyPrefix(place) + name)}`;
  let knowsConditions = true;

  async function put(name: string, content: readonly Uint8Array[]): Promise<boolean> {
    checkObjectName(name);
    if ((await stat(name)) !== undefined) return false;
    const headers: Record<string, string> = knowsConditions ? { "if-none-match": "*" } : {};
    try {
      await client.send({ method: "PUT", path: pathOf(name), headers, body: content, withChecksum: true });
      return true;
    } catch (error) {
      if (!(error instanceof S3Refusal)) throw about(name, "storing", error);
      if (error.status === 412) return false;
      if (error.status !== 501 || !knowsConditions) throw about(name, "storing", error);
      knowsConditions = false;
      return put(name, content);
    }
  }

  async function get(name: string, range?: ByteRange): Promise<Uint8Array> {
    checkObjectName(name);
    if (range === undefined) return fetchWhole(name);
    // Offsets that no object has are not worth asking for; and HTTP has no empty ranges.
    checkRange(name, range, Number.MAX_SAFE_INTEGER);
    if (range.length > 0) return fetchRange(name, range);
    const found = await stat(name);
    if (found === undefined) throw objectMissing(name, location);
    checkRange(name, range, found.sizeBytes);
    return new Uint8Array(0);
  }

  async function fetchWhole(name: string): Promise<Uint8Array> {
    try {
      return (await client.send({ method: "GET", path: pathOf(name) })).body;
    } catch (error) {
      throw about(name, "reading", error);
    }
  }

  async function fetchRange(name: string, range: ByteRange): Promise<Uint8Array> {
    const { offset, length } = range;
    try {
      const asked = `bytes=${offset}-${offset + length - 1}`;
      const { status, body } = await client.send({ method: "GET", path: pathOf(name), headers: { range: asked } });
      if (status !== 206) throw new StorageError(`${place.endpoint.host} does not give parts of objects`);
      if (body.byteLength > length) throw new StorageError(`${place.endpoint.host} gave more than it was asked for`);
      checkRange(name, range, offset + body.byteLength);
      return body;
    } catch (error) {
      if (error instanceof S3Refusal && error.status === 416) {
        throw new DamagedError(`${name} is too short: it ends before byte ${offset}`, { cause: error });
      }
      throw about(name, "reading", error);
    }
  }

  async function* list(prefix: string): AsyncGenerator<StoredObject> {
    checkPrefix(prefix);
    let continuation: string | undefined;
    do {
      const page = await listPage(prefix, continuation);
      for (const { key, sizeBytes, modifiedMs } of page.objects) {
        const name = key.slice(keyPrefix(place).length);
        if (isObjectName(name)) yield { name, sizeBytes, modifiedMs: wholeSeconds(modifiedMs) };
      }
      continuation = page.continuation;
    } while (continuation !== undefined);
  }

  async function listPage(prefix: string, continuation: string | undefined): ReturnType<typeof readPage> {
    const query = listQuery(place, prefix);
    if (continuation !== undefined) query["continuation-token"] = continuation;
    try {
      return await readPage(query);
    } catch (error) {
      throw about(prefix, "listing", error);
    }
  }

  async function readPage(query: Record<string, string>) {
    const { body } = await client.send({ method: "GET", path: bucketPath(place), query });
    return readListPage(body.toString("utf8"));
  }

  async function stat(name: string): Promise<StoredObject | undefined> {
    checkObjectName(name);
    try {
      const { headers } = await client.send({ method: "HEAD", path: pathOf(name) });
      const sizeBytes = Number(headers["content-length"]);
      const modifiedMs = Date.parse(headers["last-modified"] ?? "");
      if (Number.isSafeInteger(sizeBytes) && !Number.isNaN(modifiedMs)) return { name, sizeBytes, modifiedMs };
      throw new StorageError(`${place.endpoint.host} tells neither size nor time of ${name}`);
    } catch (error) {
      if (error instanceof S3Refusal && error.status === 404) return undefined;
      throw about(name, "looking up", error);
    }
  }

  async function deleteObject(name: string): Promise<void> {
    checkObjectName(name);
    try {
      await client.send({ method: "DELETE", path: pathOf(name) });
    } catch (error) {
      if (error instanceof S3Refusal && error.s3Code === "NoSuchKey") return;
      throw about(name, "deleting", error);
    }
  }

  /** The error, with the object that it is about. */
  function about(name: string, doing: string, error: unknown): unknown {
    if (!(error instanceof StorageError)) return error;
    if (error instanceof S3Refusal && error.s3Code === "NoSuchKey") return objectMissing(name, location, error);
    return new StorageError(`${doing} ${name} failed: ${error.message}`, { hint: error.hint, cause: error });
  }

  return { location, put, get, list, stat, delete: deleteObject, close: async () => client.close() };
}

const DEFAULT_REGION = "us-east-1";

/** From the environment, or from the host's name as Amazon forms it. */
function regionOf({ endpoint }: S3Place): string {
  const { AWS_REGION, AWS_DEFAULT_REGION } = process.env;
  const named = /^s3[.-]([a-z0-9-]+)\.amazonaws\.com$/.exec(endpoint.hostname)?.[1];
  return AWS_REGION || AWS_DEFAULT_REGION || named || DEFAULT_REGION;
}

function clientFor(place: S3Place, retryDelaysMs: readonly number[], pace: Pace | undefined): S3Client {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
  if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY) {
    throw new UsageError(`there is no key for ${place.endpoint.host}`, {
      hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_DEFAULT_REGION, where the service has regions)",
    });
  }
  return s3Client({
    endpoint: place.endpoint,
    region: regionOf(place),
    credentials: {
      accessKeyId: AWS_ACCESS_KEY_ID,
      secretAccessKey: AWS_SECRET_ACCESS_KEY,
      sessionToken: AWS_SESSION_TOKEN,
    },
    retryDelaysMs,
    pace,
  });
}

/** The bucket is the first part of the path: every service can do that, and it needs no DNS entry for each bucket. */
function bucketPath({ bucket }: S3Place): string {
  return `/${escapePath(bucket)}`;
}

function keyPrefix({ prefix }: S3Place): string {
  return prefix === "" ? "" : `${prefix}/`;
}

function listQuery(place: S3Place, prefix: string): Record<string, string> {
  return { "list-type": "2", prefix: keyPrefix(place) + prefix };
}

function escapePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

function bucketConfiguration(region: string): string {
  const escaped = region.replace(/[^A-Za-z0-9-]/g, "");
  return (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
    `<LocationConstraint>${escaped}</LocationConstraint></CreateBucketConfiguration>`
  );
}

/** A list tells milliseconds, a single object only seconds: the same is said in both. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
