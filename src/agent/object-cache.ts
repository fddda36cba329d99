/**
 * What an agent keeps of a server's objects and listings, so that it need not fetch them again. Everything in it can be
 * fetched anew; what is damaged is not used.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { makeFolder } from "../platform/make-folder.ts";
import type { Listing } from "../wire/listing.ts";

export interface ObjectCache {
  get(name: string): Promise<Uint8Array | undefined>;
  put(name: string, content: readonly Uint8Array[]): Promise<void>;
  /** Removes what is cached below the prefix and is not among these names. */
  keepOnly(prefix: string, names: ReadonlySet<string>): Promise<void>;
  readListing(prefix: string): Promise<Listing | undefined>;
  writeListing(listing: Listing): Promise<void>;
}

/** Objects below these are named by the SHA-256 of their content, and are read at each run. */
export const CACHED_PREFIXES: readonly string[] = ["index/", "snapshots/", "condemned/"];

export function isCached(name: string): boolean {
  return CACHED_PREFIXES.some((prefix) => name.startsWith(prefix)) && /^[a-z]+\/[0-9a-f]{64}$/.test(name);
}

/** In a folder of its own, which is made where it is wanted. Failures to write are ignored: it only saves time. */
export function openObjectCache(folder: string): ObjectCache {
  const pathOf = (name: string): string => join(folder, name);
  const listingPath = (prefix: string): string => join(folder, `listing-${prefix.replaceAll("/", "")}`);

  async function write(path: string, content: readonly Uint8Array[]): Promise<void> {
    const temporary = `${path}.${randomBytes(6).toString("hex")}${TEMPORARY}`;
    try {
      makeFolder(dirname(path));
      await writeFile(temporary, Buffer.concat(content), { mode: 0o600 });
      await rename(temporary, path);
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  return {
    async get(name) {
      const bytes = await readFile(pathOf(name)).catch(() => undefined);
      return bytes !== undefined && sha256Hex(bytes) === name.slice(name.indexOf("/") + 1) ? bytes : undefined;
    },
    put: (name, content) => write(pathOf(name), content),
    async keepOnly(prefix, names) {
      for (const file of await readdir(pathOf(prefix)).catch((): string[] => [])) {
        if (names.has(prefix + file)) continue;
        const path = join(pathOf(prefix), file);
        if (!file.endsWith(TEMPORARY) || (await isOld(path))) await rm(path, { force: true }).catch(() => undefined);
      }
    },
    async readListing(prefix) {
      const bytes = await readFile(listingPath(prefix)).catch(() => undefined);
      return bytes && decodeListing(prefix, bytes);
    },
    writeListing: (listing) => write(listingPath(listing.prefix), encodeListing(listing)),
  };
}

/** What is being written now, unless whoever wrote it has died. */
const TEMPORARY = ".tmp";
const WRITTEN_WITHIN_MS = 60 * 60 * 1000;

async function isOld(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > WRITTEN_WITHIN_MS;
}

const LISTING_MAGIC = Buffer.from("HFLS\x01\0\0\0", "latin1");

/** Magic, SHA-256 of the rest, then for each bucket u32 length and its bytes. */
function encodeListing({ buckets }: Listing): Buffer[] {
  const rest = buckets.flatMap((bucket) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bucket.length);
    return [length, bucket];
  });
  return [LISTING_MAGIC, hashOf(rest), ...rest];
}

function decodeListing(prefix: string, bytes: Buffer): Listing | undefined {
  const rest = bytes.subarray(40);
  if (!bytes.subarray(0, 8).equals(LISTING_MAGIC) || !bytes.subarray(8, 40).equals(hashOf([rest]))) return undefined;
  const buckets: Buffer[] = [];
  for (let at = 0; at < rest.length;) {
    const end = at + 4 + rest.readUInt32LE(at);
    buckets.push(rest.subarray(at + 4, end));
    at = end;
  }
  return { prefix, buckets };
}

function hashOf(parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}
