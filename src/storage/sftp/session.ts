import type { Readable, Writable } from "node:stream";
import { HoldfastError, messageOf, StorageError } from "../../errors.ts";
import { packetCutter, packetStart, permissions, REPLY, REQUEST, STATUS, text, u32, u64 } from "./wire.ts";
import type { FileAttributes, NamedAttributes, Packet } from "./wire.ts";

/** The connection broke, or was closed. What was asked for may have been done or not. */
export class ConnectionLostError extends StorageError {
  constructor(reason: string) {
    super(reason, { hint: 'is the server up, and does "sftp" log in to it without asking anything?' });
  }
}

/** The server refused. `code` is the errno name that comes nearest to it; `EFAILURE` where the server did not say. */
export class SftpStatusError extends Error {
  readonly code: string;

  constructor(status: number, message: string) {
    const code = ERRNO_OF_STATUS.get(status) ?? "EFAILURE";
    super(`${code}: ${message}`);
    this.code = code;
  }
}

const ERRNO_OF_STATUS: ReadonlyMap<number, string> = new Map([
  [STATUS.noSuchFile, "ENOENT"],
  [STATUS.permissionDenied, "EACCES"],
  [STATUS.unsupported, "EOPNOTSUPP"],
]);

/** What a session is spoken over: the standard streams of `ssh` or of an SFTP server. */
export interface SftpChannel {
  readonly toServer: Writable;
  readonly fromServer: Readable;
  /** Ends when the channel has; says why, if it knows. */
  readonly ended: Promise<string>;
  /** Breaks the channel off. */
  kill(): void;
}

export type Handle = Buffer;

/** One connection. Requests may be made at the same time. Throws `SftpStatusError` and `ConnectionLostError`. */
export interface SftpSession {
  open(path: string, flags: number, mode: number): Promise<Handle>;
  close(handle: Handle): Promise<void>;
  /** Undefined at the end of the file. */
  read(handle: Handle, offset: number, length: number): Promise<Buffer | undefined>;
  write(handle: Handle, offset: number, data: Uint8Array): Promise<void>;
  lstat(path: string): Promise<FileAttributes>;
  /** Follows symbolic links. */
  stat(path: string): Promise<FileAttributes>;
  fstat(handle: Handle): Promise<FileAttributes>;
  list(path: string): Promise<NamedAttributes[]>;
  remove(path: string): Promise<void>;
  makeFolder(path: string, mode: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** `EOPNOTSUPP` where the server cannot. */
  hardLink(from: string, to: string): Promise<void>;
  /** Does nothing where the server cannot: see `canSync`. */
  sync(handle: Handle): Promise<void>;
  /** Undefined where the server does not tell. */
  freeBlocks(path: string): Promise<number | undefined>;
  readonly canSync: boolean;
  readonly maxReadBytes: number;
  readonly maxWriteBytes: number;
  /** Ends the connection. */
  end(): Promise<void>;
}

export const OPEN = { read: 1, write: 2, create: 8, exclusive: 32 } as const;

/** What every server takes and gives. OpenSSH tells of more. */
const SAFE_TRANSFER_BYTES = 32 * 1024;
const LARGEST_TRANSFER_BYTES = 255 * 1024;

interface TransferLimits {
  readonly maxReadBytes: number;
  readonly maxWriteBytes: number;
}

const SAFE_LIMITS: TransferLimits = { maxReadBytes: SAFE_TRANSFER_BYTES, maxWriteBytes: SAFE_TRANSFER_BYTES };

/** Requests under way. Enough to fill a line of 1 Gbit/s and 100 ms with transfers of 255 KiB. */
const WINDOW = 64;

const CLOSING_MS = 2000;

interface Waiting {
  resolve(packet: Packet): void;
  reject(error: Error): void;
}

/** Greets the server. Throws `ConnectionLostError` where there is none. */
export async function openSession(channel: SftpChannel): Promise<SftpSession> {
  const waiting = new Map<number, Waiting>();
  const queue: (() => void)[] = [];
  let lastId = 0;
  let broken: Error | undefined;

  function breakOff(error: Error): void {
    broken ??= error;
    channel.kill();
    for (const { reject } of waiting.values()) reject(broken);
    waiting.clear();
    for (const proceed of queue.splice(0)) proceed();
  }

  const greeting = new Promise<Packet>((resolve, reject) => {
    waiting.set(GREETING, { resolve, reject });
  });

  const cut = packetCutter((packet) => {
    const id = packet.type === REPLY.version ? GREETING : packet.body.u32();
    const asked = waiting.get(id);
    if (asked === undefined) throw new StorageError("the SFTP server answered what it was not asked");
    waiting.delete(id);
    queue.shift()?.();
    asked.resolve(packet);
  });

  channel.fromServer.on("data", (chunk: Buffer) => {
    if (broken !== undefined) return;
    try {
      cut(chunk);
    } catch (error) {
      breakOff(error instanceof HoldfastError ? error : new StorageError(messageOf(error), { cause: error }));
    }
  });
  channel.fromServer.on("error", () => undefined);
  // Why it broke is known when the channel has ended.
  channel.toServer.on("error", () => undefined);
  void channel.ended.then((reason) => breakOff(new ConnectionLostError(reason)));

  async function request(type: number, fields: readonly Uint8Array[], data?: Uint8Array): Promise<Packet> {
    if (waiting.size >= WINDOW) await new Promise<void>((proceed) => queue.push(proceed));
    if (broken !== undefined) throw broken;
    lastId = (lastId + 1) % 0xffffffff;
    const id = lastId;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      channel.toServer.cork();
      channel.toServer.write(packetStart(type, [u32(id), ...fields], data?.byteLength));
      if (data !== undefined) channel.toServer.write(data);
      channel.toServer.uncork();
    });
  }

  /** A reply of this type, or the error that the server gave in its place. */
  async function ask(
    replyType: number,
    type: number,
    fields: readonly Uint8Array[],
    data?: Uint8Array,
  ): Promise<Packet> {
    const packet = await request(type, fields, data);
    if (packet.type === REPLY.status) {
      const status = packet.body.u32();
      if (status === STATUS.ok && replyType === REPLY.status) return packet;
      throw status === STATUS.endOfFile ? new EndOfFile("end of file") : new SftpStatusError(status, messageIn(packet));
    }
    if (packet.type !== replyType) {
      const error = new StorageError(`the SFTP server gave an answer of type ${packet.type}, not ${replyType}`);
      breakOff(error);
      throw error;
    }
    return packet;
  }

  async function perform(type: number, fields: readonly Uint8Array[], data?: Uint8Array): Promise<void> {
    await ask(REPLY.status, type, fields, data);
  }

  const extended = (name: string, fields: readonly Uint8Array[]): readonly Uint8Array[] => [text(name), ...fields];
  const handleField = (handle: Handle): Buffer => Buffer.concat([u32(handle.length), handle]);

  async function greet(): Promise<Map<string, string>> {
    channel.toServer.write(packetStart(REQUEST.init, [u32(3)]));
    const { body } = await greeting;
    const version = body.u32();
    if (version < 3) throw new StorageError(`the SFTP server speaks version ${version}; 3 is needed`);
    return body.extensions();
  }

  async function transferLimits(): Promise<TransferLimits> {
    if (!extensions.has("limits@openssh.com")) return SAFE_LIMITS;
    const { body } = await ask(REPLY.extended, REQUEST.extended, extended("limits@openssh.com", []));
    // The longest packet: of no use here.
    body.bytesOf(8);
    return { maxReadBytes: boundedTransfer(body.bytesOf(8)), maxWriteBytes: boundedTransfer(body.bytesOf(8)) };
  }

  async function list(path: string): Promise<NamedAttributes[]> {
    const { body } = await ask(REPLY.handle, REQUEST.opendir, [text(path)]);
    const handle = body.handle();
    const found: NamedAttributes[] = [];
    try {
      for (;;) found.push(...(await ask(REPLY.name, REQUEST.readdir, [handleField(handle)])).body.names());
    } catch (error) {
      if (!(error instanceof EndOfFile)) throw error;
    } finally {
      await perform(REQUEST.close, [handleField(handle)]);
    }
    return found.filter(({ name }) => name !== "." && name !== "..");
  }

  async function read(handle: Handle, offset: number, length: number): Promise<Buffer | undefined> {
    try {
      const packet = await ask(REPLY.data, REQUEST.read, [handleField(handle), u64(offset), u32(length)]);
      const data = packet.body.bytes(length);
      // A server that gives nothing, and no end, would be asked for ever.
      return data.length === 0 ? undefined : data;
    } catch (error) {
      if (error instanceof EndOfFile) return undefined;
      throw error;
    }
  }

  async function hardLink(from: string, to: string): Promise<void> {
    if (!extensions.has("hardlink@openssh.com")) throw new SftpStatusError(STATUS.unsupported, "no hard links");
    await perform(REQUEST.extended, extended("hardlink@openssh.com", [text(from), text(to)]));
  }

  async function freeBlocks(path: string): Promise<number | undefined> {
    if (!extensions.has("statvfs@openssh.com")) return undefined;
    const packet = await ask(REPLY.extended, REQUEST.extended, extended("statvfs@openssh.com", [text(path)]));
    // Block size, fragment size, blocks, free blocks; then what is free to all.
    packet.body.bytesOf(4 * 8);
    return packet.body.u64();
  }

  async function end(): Promise<void> {
    broken ??= new ConnectionLostError("the connection was closed");
    channel.toServer.end();
    const overdue = setTimeout(() => channel.kill(), CLOSING_MS);
    await channel.ended;
    clearTimeout(overdue);
  }

  let extensions: Map<string, string>;
  let limits: TransferLimits;
  try {
    extensions = await greet();
    limits = await transferLimits();
  } catch (error) {
    breakOff(error as Error);
    throw error;
  }
  const canSync = extensions.has("fsync@openssh.com");
  return {
    open: async (path, flags, mode) =>
      (await ask(REPLY.handle, REQUEST.open, [text(path), u32(flags), permissions(mode)])).body.handle(),
    close: (handle) => perform(REQUEST.close, [handleField(handle)]),
    read,
    write: (handle, offset, data) =>
      perform(REQUEST.write, [handleField(handle), u64(offset), u32(data.byteLength)], data),
    lstat: async (path) => (await ask(REPLY.attributes, REQUEST.lstat, [text(path)])).body.attributes(),
    stat: async (path) => (await ask(REPLY.attributes, REQUEST.stat, [text(path)])).body.attributes(),
    fstat: async (handle) => (await ask(REPLY.attributes, REQUEST.fstat, [handleField(handle)])).body.attributes(),
    list,
    remove: (path) => perform(REQUEST.remove, [text(path)]),
    makeFolder: (path, mode) => perform(REQUEST.mkdir, [text(path), permissions(mode)]),
    rename: (from, to) => perform(REQUEST.rename, [text(from), text(to)]),
    hardLink,
    sync: async (handle) => {
      if (canSync) await perform(REQUEST.extended, extended("fsync@openssh.com", [handleField(handle)]));
    },
    freeBlocks,
    canSync,
    ...limits,
    end,
  };
}

/** `told` is 0 where the server names no limit. */
function boundedTransfer(told: Buffer): number {
  const limit = told.readBigUInt64BE();
  return limit === 0n ? SAFE_TRANSFER_BYTES : Number(limit < LARGEST_TRANSFER_BYTES ? limit : LARGEST_TRANSFER_BYTES);
}

/** The greeting has no number: it waits under one that no request has. */
const GREETING = -1;

class EndOfFile extends Error {}

/** What the server says of a failure, cut short and without what could drive a terminal. */
function messageIn(packet: Packet): string {
  const message = packet.body.bytes(4096).toString("utf8");
  return message.replace(/[^\x20-\x7e\u00a0-\ud7ff]/g, "?").slice(0, 200);
}
