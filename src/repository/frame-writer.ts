import { constants, zstdCompressSync } from "node:zlib";
import { encapsulate } from "../crypto/hpke.ts";
import { checksum16 } from "../crypto/keyed-hash.ts";
import { type FrameKind, frameBlobTable, packInfo, sealFrame } from "../format/frame.ts";
import { sealBlobList } from "../format/pack.ts";
import type { BlobId } from "../format/tree.ts";

/** A frame, ready to be put into a pack by whoever holds the storage. Crosses threads by transfer of `record`. */
export interface SealedFrame {
  readonly kind: FrameKind;
  /** 32 bytes. */
  readonly origin: Uint8Array;
  readonly number: number;
  /** Header and sealed bytes, as they stand in a pack. */
  readonly record: Uint8Array;
  /** First 16 bytes of the record's BLAKE3. */
  readonly checksum: Uint8Array;
  /** The blob list for the pack's directory. */
  readonly sealedBlobs: Uint8Array;
  /** 32 bytes a blob. */
  readonly ids: Uint8Array;
  readonly lengths: Uint32Array;
}

/** What a writer of frames needs of a repository's keys: no private key, as it can't read what it wrote. */
export interface FrameWriterKeys {
  readonly repositoryId: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly indexKey: Uint8Array;
}

/**
 * Lays blobs into frames of one kind, and seals each full frame under a key of its own making.
 *
 * To save copies, blobs are written into the frame's own buffer: get room, fill it, and then keep the blob with `add`, or
 * leave it be where it turns out to be stored already.
 */
export interface FrameWriter {
  /** Where the next blob may be written: at least `lengthBytes` bytes. Seals the frame first if it is too full. */
  room(lengthBytes: number): Buffer;
  /** Keeps the blob of `lengthBytes` bytes that stands at the start of the last `room`. */
  add(id: BlobId, lengthBytes: number): void;
  /** Copies a blob in. */
  append(id: BlobId, bytes: Uint8Array): void;
  /** Seals what is there, if anything. */
  flush(): void;
}

export type Compression = "off" | "fastest" | "auto" | "better" | "max";

/** zstd levels; `auto` as restic's default of the same name. */
const LEVELS: Record<Exclude<Compression, "off">, number> = { fastest: 1, auto: 3, better: 9, max: 19 };

/** A frame is sealed when it holds this much. */
const FRAME_TARGET_BYTES = 1024 * 1024;
const MAXIMUM_BLOB_BYTES = 8 * 1024 * 1024;
const MAXIMUM_BLOBS = 8192;
/** Space before the blobs for the table of their lengths: a count and up to 4 bytes each. */
const TABLE_BYTES = 8 + MAXIMUM_BLOBS * 4;
const SAMPLE_BYTES = 16 * 1024;

export function createFrameWriter(
  kind: FrameKind,
  keys: FrameWriterKeys,
  compression: Compression,
  emit: (frame: SealedFrame) => void,
): FrameWriter {
  const context = encapsulate(keys.publicKey, packInfo(keys.repositoryId));
  const origin = context.enc;
  const frameKey = context.export("frames", 32);
  let buffer = Buffer.allocUnsafeSlow(TABLE_BYTES + FRAME_TARGET_BYTES + MINIMUM_ROOM_BYTES);
  let end = TABLE_BYTES;
  let nextNumber = 0;
  let count = 0;
  const ids = Buffer.allocUnsafeSlow(MAXIMUM_BLOBS * 32);
  const lengths = new Uint32Array(MAXIMUM_BLOBS);

  function flush(): void {
    if (count === 0) return;
    const table = frameBlobTable(lengths.subarray(0, count));
    const start = TABLE_BYTES - table.length;
    buffer.set(table, start);
    const raw = buffer.subarray(start, end);
    const compressed = compression === "off" ? undefined : compress(raw, LEVELS[compression]);
    const number = nextNumber++;
    const record = sealFrame({
      key: frameKey,
      repositoryId: keys.repositoryId,
      origin,
      number,
      kind,
      compression: compressed === undefined ? "none" : "zstd",
      rawLength: raw.length,
      payload: compressed ?? raw,
    });
    const frameIds = Buffer.from(ids.subarray(0, count * 32));
    const frameLengths = lengths.slice(0, count);
    emit({
      kind,
      origin,
      number,
      record,
      checksum: checksum16(record),
      sealedBlobs: sealBlobList(keys.indexKey, keys.repositoryId, origin, number, frameIds, frameLengths),
      ids: frameIds,
      lengths: frameLengths,
    });
    count = 0;
    end = TABLE_BYTES;
  }

  function room(lengthBytes: number): Buffer {
    if (lengthBytes > MAXIMUM_BLOB_BYTES) throw new RangeError(`a blob of ${lengthBytes} bytes is too large`);
    if (count > 0 && (end + lengthBytes > buffer.length || count === MAXIMUM_BLOBS)) flush();
    if (end + lengthBytes > buffer.length) buffer = Buffer.allocUnsafeSlow(TABLE_BYTES + lengthBytes + FRAME_TARGET_BYTES);
    return buffer.subarray(end);
  }

  function add(id: BlobId, lengthBytes: number): void {
    ids.set(id, count * 32);
    lengths[count++] = lengthBytes;
    end += lengthBytes;
    if (end - TABLE_BYTES >= FRAME_TARGET_BYTES) flush();
  }

  return {
    room,
    add,
    append(id, bytes) {
      room(bytes.length).set(bytes);
      add(id, bytes.length);
    },
    flush,
  };
}

/** Room that a writer of small blobs can count on without the frame being sealed early. */
const MINIMUM_ROOM_BYTES = 512 * 1024;

/** Undefined where it would not get smaller. */
function compress(raw: Buffer, level: number): Buffer | undefined {
  if (raw.length > 8 * SAMPLE_BYTES && !samplesShrink(raw)) return undefined;
  const compressed = zstd(raw, level);
  return compressed.length < raw.length - (raw.length >>> 6) ? compressed : undefined;
}

/** Tries two small pieces: encrypted and compressed data is recognised at a hundredth of the cost. */
function samplesShrink(raw: Buffer): boolean {
  for (const part of [0.3, 0.7]) {
    const at = Math.floor(raw.length * part);
    if (zstd(raw.subarray(at, at + SAMPLE_BYTES), 1).length < SAMPLE_BYTES * 0.97) return true;
  }
  return false;
}

function zstd(raw: Buffer, level: number): Buffer {
  return zstdCompressSync(raw, {
    chunkSize: raw.length + 4096,
    params: { [constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: raw.length,
  } as Parameters<typeof zstdCompressSync>[1]);
}
