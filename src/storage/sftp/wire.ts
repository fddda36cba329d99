/**
 * The bytes of SFTP version 3, as a client speaks it: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for
 * the extensions. Every length is checked before anything is read or kept.
 */
import { StorageError } from "../../errors.ts";

export const REQUEST = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  stat: 17,
  rename: 18,
  extended: 200,
} as const;

export const REPLY = {
  version: 2,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attributes: 105,
  extended: 201,
} as const;

export const STATUS = {
  ok: 0,
  endOfFile: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  unsupported: 8,
} as const;

/** OpenSSH sends at most 256 KiB in a packet; other servers less. */
const LARGEST_PACKET = 1024 * 1024;
const LONGEST_HANDLE = 256;
const LONGEST_NAME = 32 * 1024;
const MOST_NAMES = 65_536;
const MOST_EXTENDED_ATTRIBUTES = 1024;

export interface Packet {
  readonly type: number;
  readonly body: PacketBody;
}

export interface FileAttributes {
  readonly sizeBytes: number | undefined;
  /** As in `st_mode`, with the type of the file. */
  readonly mode: number | undefined;
  /** Seconds since 1970. */
  readonly modifiedSeconds: number | undefined;
}

export interface NamedAttributes extends FileAttributes {
  readonly name: string;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** A length, and as many bytes. */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([u32(bytes.length), bytes]);
}

/** Attributes of a new file or folder: permissions and nothing else. */
export function permissions(mode: number): Buffer {
  return Buffer.concat([u32(ATTRIBUTE.permissions), u32(mode)]);
}

/** The start of a packet, up to where `followingBytes` more bytes follow. */
export function packetStart(type: number, fields: readonly Uint8Array[], followingBytes = 0): Buffer {
  const body = Buffer.concat(fields);
  const start = Buffer.allocUnsafe(5);
  start.writeUInt32BE(1 + body.length + followingBytes);
  start[4] = type;
  return Buffer.concat([start, body]);
}

/** Cuts a stream of bytes into packets. The function it returns takes the bytes, and gives each packet to `onPacket`. */
export function packetCutter(onPacket: (packet: Packet) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let heldBytes = 0;
  let neededBytes = 4;

  return (chunk) => {
    let rest = chunk;
    while (heldBytes + rest.length >= neededBytes) {
      const taken = neededBytes - heldBytes;
      const whole = parts.length === 0 ? rest.subarray(0, taken) : Buffer.concat([...parts, rest.subarray(0, taken)]);
      rest = rest.subarray(taken);
      parts = [];
      heldBytes = 0;
      if (neededBytes === 4) {
        parts = [whole];
        heldBytes = 4;
        neededBytes = 4 + checkedPacketLength(whole);
      } else {
        neededBytes = 4;
        onPacket({ type: whole[4], body: packetBody(whole.subarray(5)) });
      }
    }
    if (rest.length > 0) {
      parts.push(rest);
      heldBytes += rest.length;
    }
  };
}

function checkedPacketLength(start: Buffer): number {
  const length = start.readUInt32BE(0);
  if (length >= 1 && length <= LARGEST_PACKET) return length;
  // The commonest cause by far: the text "Last login…" or the like, read as a length.
  const readable = /^[\x20-\x7e\r\n\t]+$/.test(start.toString("latin1"));
  throw new StorageError(`the SFTP server sent a packet of ${length} bytes, which cannot be`, {
    hint: readable
      ? "it sent text: a start-up file of the user's shell on the server (.bashrc) must print nothing"
      : undefined,
  });
}

/** What is in a packet, read from front to back. Each call throws `StorageError` where the packet is too short. */
export interface PacketBody {
  u32(): number;
  /** At most 2^53 - 1. */
  u64(): number;
  /** A length, which is at most `longest`, and as many bytes. */
  bytes(longest: number): Buffer;
  /** The next bytes, of a length that both sides know. */
  bytesOf(length: number): Buffer;
  handle(): Buffer;
  attributes(): FileAttributes;
  names(): NamedAttributes[];
  /** Name and data of each extension that follows, to the end. */
  extensions(): Map<string, string>;
}

const ATTRIBUTE = { size: 1, owner: 2, permissions: 4, times: 8, extended: 0x80000000 } as const;

function packetBody(packet: Buffer): PacketBody {
  let at = 0;

  function take(length: number): Buffer {
    if (length > packet.length - at) throw new StorageError("the SFTP server sent a packet that ends too early");
    at += length;
    return packet.subarray(at - length, at);
  }

  const readU32 = (): number => take(4).readUInt32BE();

  function readU64(): number {
    const value = take(8).readBigUInt64BE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new StorageError(`the SFTP server sent the size ${value}`);
    return Number(value);
  }

  function bytes(longest: number): Buffer {
    const length = readU32();
    if (length > longest) {
      throw new StorageError(`the SFTP server sent ${length} bytes where at most ${longest} can be`);
    }
    return take(length);
  }

  function attributes(): FileAttributes {
    const flags = readU32();
    const sizeBytes = flags & ATTRIBUTE.size ? readU64() : undefined;
    if (flags & ATTRIBUTE.owner) take(8);
    const mode = flags & ATTRIBUTE.permissions ? readU32() : undefined;
    const modifiedSeconds = flags & ATTRIBUTE.times ? take(8).readUInt32BE(4) : undefined;
    if (flags & ATTRIBUTE.extended) {
      for (let left = count(MOST_EXTENDED_ATTRIBUTES); left > 0; left--) {
        bytes(LONGEST_NAME);
        bytes(LARGEST_PACKET);
      }
    }
    return { sizeBytes, mode, modifiedSeconds };
  }

  function count(most: number): number {
    const value = readU32();
    if (value > most) throw new StorageError(`the SFTP server sent a list of ${value}, where at most ${most} can be`);
    return value;
  }

  function names(): NamedAttributes[] {
    const found: NamedAttributes[] = [];
    for (let left = count(MOST_NAMES); left > 0; left--) {
      const name = bytes(LONGEST_NAME).toString("utf8");
      // The line as `ls -l` would print it.
      bytes(LONGEST_NAME);
      found.push({ name, ...attributes() });
    }
    return found;
  }

  function extensions(): Map<string, string> {
    const found = new Map<string, string>();
    while (at < packet.length) {
      const name = bytes(LONGEST_NAME).toString("utf8");
      found.set(name, bytes(LONGEST_NAME).toString("utf8"));
    }
    return found;
  }

  return {
    u32: readU32,
    u64: readU64,
    bytes,
    bytesOf: take,
    handle: () => Buffer.from(bytes(LONGEST_HANDLE)),
    attributes,
    names,
    extensions,
  };
}
