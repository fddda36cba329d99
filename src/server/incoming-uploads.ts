/**
 * Content on its way in. It is kept in files until it is whole, so that many hosts that send at once take no memory, and
 * one whose connection breaks goes on where it stopped.
 */
import { createHash, randomBytes } from "node:crypto";
import { open, readdir, rm, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { errnoOf, ProtocolError } from "../errors.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { createSlots } from "./slots.ts";

export interface IncomingUploads {
  /** How much of this object an upload that broke off has left; waits a while for one that is just breaking off. */
  heldBytes(host: string, name: string): Promise<number>;
  /**
   * Takes the content of an object of `sizeBytes`, which is sent from `offset` on (what `heldBytes` said), and gives it
   * to `store`. What has arrived stays for a next try where the content breaks off, and goes when `store` has settled.
   */
  receive<Result>(upload: Upload, store: (bytes: Buffer) => Promise<Result>): Promise<Result>;
  /** Removes what broken uploads of this host have left, but for those that go on right now. */
  forget(host: string): Promise<void>;
}

export interface Upload {
  readonly host: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly offset: number;
  readonly content: AsyncIterable<Uint8Array>;
}

export interface IncomingLimits {
  /** Content of at most this size is kept in memory. */
  readonly memoryBytes: number;
  /** How many broken uploads are kept for a host; the oldest go first. */
  readonly keptPerHost: number;
  readonly keptMs: number;
  /** Whole objects in memory at once, over all hosts, while they are checked and stored. */
  readonly storedAtOnce: number;
}

const LIMITS: IncomingLimits = {
  memoryBytes: 256 * 1024,
  keptPerHost: 4,
  keptMs: 24 * 60 * 60 * 1000,
  storedAtOnce: 4,
};

/** The folder is made; what lies in it from long ago is removed. It belongs to this alone. */
export async function openIncomingUploads(
  folder: string,
  limits: Partial<IncomingLimits> = {},
): Promise<IncomingUploads> {
  const { memoryBytes, keptPerHost, keptMs, storedAtOnce } = { ...LIMITS, ...limits };
  makeFolder(folder);
  /** Files that are being written, each with what resolves when that is over. */
  const inUse = new Map<string, Promise<void>>();
  const slots = createSlots(storedAtOnce);
  await removeOld("", keptMs, Number.POSITIVE_INFINITY);

  /** Of one host's files those beyond `kept`, and of all those older than this. */
  async function removeOld(prefix: string, olderThanMs: number, kept: number): Promise<void> {
    const files: { name: string; modifiedMs: number }[] = [];
    for (const name of await readdir(folder)) {
      if (!name.startsWith(prefix) || inUse.has(name)) continue;
      const found = await stat(join(folder, name)).catch(() => undefined);
      if (found !== undefined) files.push({ name, modifiedMs: found.mtimeMs });
    }
    files.sort((a, b) => b.modifiedMs - a.modifiedMs);
    for (const [place, { name, modifiedMs }] of files.entries()) {
      const isKept = place < kept && Date.now() - modifiedMs < olderThanMs && !name.endsWith(ONE_TIME);
      if (!isKept) await rm(join(folder, name), { force: true });
    }
  }

  async function receiveInMemory({ sizeBytes, content }: Upload): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(sizeBytes);
    let filled = 0;
    for await (const piece of content) {
      if (filled + piece.length > sizeBytes) throw tooMuch();
      bytes.set(piece, filled);
      filled += piece.length;
    }
    if (filled < sizeBytes) throw tooLittle();
    return bytes;
  }

  async function receiveInFile<Result>(upload: Upload, store: (bytes: Buffer) => Promise<Result>): Promise<Result> {
    const { host, name, sizeBytes, offset } = upload;
    let file = fileName(host, name);
    // Somebody is at it already; this one starts from its own beginning, and is not kept.
    const isSecond = inUse.has(file);
    if (isSecond) file = `${hostPrefix(host)}${randomBytes(16).toString("hex")}${ONE_TIME}`;
    const path = join(folder, file);
    const { promise: over, resolve: isOver } = Promise.withResolvers<void>();
    inUse.set(file, over);
    let keep = false;
    try {
      const handle = await open(path, offset === 0 || isSecond ? "w+" : "r+", 0o600);
      try {
        const { size } = await handle.stat();
        if (size < offset) throw new ProtocolError(`${name}: ${offset} bytes are not here, only ${size}`);
        await handle.truncate(offset);
        keep = !isSecond;
        await fill(handle, upload);
        keep = false;
        return await slots.run(async () => store(await readWhole(handle, sizeBytes)));
      } finally {
        await handle.close();
      }
    } finally {
      try {
        if (!keep) await rm(path, { force: true });
      } finally {
        inUse.delete(file);
        isOver();
      }
      if (keep) await removeOld(hostPrefix(host), keptMs, keptPerHost);
    }
  }

  return {
    async heldBytes(host, name) {
      const file = fileName(host, name);
      const underWay = inUse.get(file);
      if (underWay !== undefined) await Promise.race([underWay, wait(BREAKING_OFF_MS, undefined, { ref: false })]);
      if (inUse.has(file)) return 0;
      try {
        return (await stat(join(folder, file))).size;
      } catch (error) {
        if (errnoOf(error) === "ENOENT") return 0;
        throw error;
      }
    },
    async receive(upload, store) {
      if (upload.sizeBytes > memoryBytes) return receiveInFile(upload, store);
      if (upload.offset > 0) throw new ProtocolError(`nothing of ${upload.name} is held`);
      return store(await receiveInMemory(upload));
    },
    forget: (host) => removeOld(hostPrefix(host), keptMs, 0),
  };
}

/** A host may be back before all is written that came over its broken connection. */
const BREAKING_OFF_MS = 10_000;

const ONE_TIME = ".once";

function hostPrefix(host: string): string {
  return `${createHash("sha256").update(host).digest("hex").slice(0, 16)}-`;
}

/** No part of a name that a host chose becomes part of a path. */
function fileName(host: string, name: string): string {
  return hostPrefix(host) + createHash("sha256").update(name).digest("hex").slice(0, 32);
}

/** Pieces are gathered: a write for each would cost more than what it writes. */
const WRITE_BYTES = 1024 * 1024;

async function fill(file: FileHandle, { sizeBytes, offset, content }: Upload): Promise<void> {
  let end = offset;
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  async function flush(): Promise<void> {
    for (let pieces = waiting; pieces.length > 0;) {
      const { bytesWritten } = await file.writev(pieces, end);
      end += bytesWritten;
      pieces = after(pieces, bytesWritten);
    }
    waiting = [];
    waitingBytes = 0;
  }
  try {
    for await (const piece of content) {
      waiting.push(piece);
      waitingBytes += piece.length;
      if (end + waitingBytes > sizeBytes) throw tooMuch();
      if (waitingBytes >= WRITE_BYTES) await flush();
    }
  } finally {
    if (end + waitingBytes <= sizeBytes) await flush();
  }
  if (end < sizeBytes) throw tooLittle();
}

function after(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest = [...pieces];
  let left = bytes;
  while (rest.length > 0 && left >= rest[0].length) left -= rest.shift()!.length;
  if (left > 0) rest[0] = rest[0].subarray(left);
  return rest;
}

async function readWhole(file: FileHandle, sizeBytes: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(sizeBytes);
  for (let at = 0; at < sizeBytes;) {
    const { bytesRead } = await file.read(bytes, at, sizeBytes - at, at);
    if (bytesRead === 0) throw new ProtocolError("content that had arrived is gone");
    at += bytesRead;
  }
  return bytes;
}

function tooMuch(): ProtocolError {
  return new ProtocolError("more content came than was announced");
}

function tooLittle(): ProtocolError {
  return new ProtocolError("less content came than was announced");
}
