import { prepareKey } from "../crypto/aead.ts";
import { encapsulate } from "../crypto/hpke.ts";
import { checksum16 } from "../crypto/keyed-hash.ts";
import { type FrameKind, frameBlobTable, packInfo, sealFrame } from "../format/frame.ts";
import { createBlobListSealer, type FrameForward } from "../format/pack.ts";
import type { BlobId } from "../format/tree.ts";
import { allocateNative, type NativeMemory } from "../platform/libc.ts";
import { createZstdCompressor, type ZstdCompressor, type ZstdParameters } from "../platform/zstd.ts";

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
  /** Frames that this one stands for, with others before it. */
  readonly forwards?: readonly FrameForward<Uint8Array>[] | undefined;
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

/**
 * zstd levels; `auto` as restic's default of the same name. Its match tables are small, so that they stay in the
 * processor's cache beside a second thread's: 10 % faster than level 3 as it is, and 1 % larger.
 */
const PARAMETERS: Record<Exclude<Compression, "off">, ZstdParameters> = {
  fastest: { compressionLevel: 1 },
  auto: { compressionLevel: 3, hashLog: 15, chainLog: 13, blockSplitterLevel: 1 },
  better: { compressionLevel: 9 },
  max: { compressionLevel: 19 },
};

/** A frame is sealed when it holds this much: twice as much compresses 1 % better, and costs that more to read one file. */
const FRAME_TARGET_BYTES = 2 * 1024 * 1024;
const MAXIMUM_BLOB_BYTES = 8 * 1024 * 1024;
const MAXIMUM_BLOBS = 8192;
/** Space before the blobs for the table of their lengths: a count and up to 4 bytes each. */
const TABLE_BYTES = 8 + MAXIMUM_BLOBS * 4;
const SAMPLE_BYTES = 8 * 1024;
/** Room that a writer of small blobs can count on without the frame being sealed early. */
const MINIMUM_ROOM_BYTES = 512 * 1024;

export function createFrameWriter(
  kind: FrameKind,
  keys: FrameWriterKeys,
  compression: Compression,
  emit: (frame: SealedFrame) => void,
): FrameWriter {
  const context = encapsulate(keys.publicKey, packInfo(keys.repositoryId));
  const origin = Uint8Array.from(context.enc);
  const frameKey = prepareKey(context.export("frames", 32));
  const sealList = createBlobListSealer(keys.indexKey, keys.repositoryId, origin);
  let memory = allocateNative(TABLE_BYTES + FRAME_TARGET_BYTES + MINIMUM_ROOM_BYTES);
  const compress = compression === "off" ? undefined : createCompressor(PARAMETERS[compression]);
  let end = TABLE_BYTES;
  let nextNumber = 0;
  let count = 0;
  const ids = new Uint8Array(MAXIMUM_BLOBS * 32);
  const lengths = new Uint32Array(MAXIMUM_BLOBS);

  function flush(): void {
    if (count === 0) return;
    const table = frameBlobTable(lengths.subarray(0, count));
    const start = TABLE_BYTES - table.length;
    memory.bytes.set(table, start);
    const raw = memory.bytes.subarray(start, end);
    const compressed = compress?.(memory, start, end);
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
    const frameIds = ids.slice(0, count * 32);
    const frameLengths = lengths.slice(0, count);
    emit({
      kind,
      origin,
      number,
      record,
      checksum: Uint8Array.from(checksum16(record)),
      sealedBlobs: sealList(number, frameIds, frameLengths),
      ids: frameIds,
      lengths: frameLengths,
    });
    count = 0;
    end = TABLE_BYTES;
  }

  function room(lengthBytes: number): Buffer {
    if (lengthBytes > MAXIMUM_BLOB_BYTES) throw new RangeError(`a blob of ${lengthBytes} bytes is too large`);
    if (count > 0 && (end + lengthBytes > memory.bytes.length || count === MAXIMUM_BLOBS)) flush();
    if (end + lengthBytes > memory.bytes.length) {
      memory = allocateNative(Math.ceil((TABLE_BYTES + lengthBytes) / 8) * 8);
    }
    return memory.bytes.subarray(end);
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

/** Compresses, or gives undefined where that would not make it smaller. */
function createCompressor(
  parameters: ZstdParameters,
): (memory: NativeMemory, start: number, end: number) => Uint8Array | undefined {
  const compressor = createZstdCompressor(parameters);
  const sampler = createZstdCompressor({ compressionLevel: 1 });
  return (memory, start, end) => {
    const length = end - start;
    if (length > 8 * SAMPLE_BYTES && !samplesShrink(sampler, memory, start, length)) return undefined;
    const compressed = compressor.compress(memory, start, end);
    return compressed.length < length - (length >>> 6) ? compressed : undefined;
  };
}

/** Tries two small pieces: encrypted and compressed data is recognised at a hundredth of the cost. */
function samplesShrink(sampler: ZstdCompressor, memory: NativeMemory, start: number, length: number): boolean {
  return [0.3, 0.7].some((part) => {
    const at = start + Math.floor(length * part);
    return sampler.compress(memory, at, at + SAMPLE_BYTES).length < SAMPLE_BYTES * 0.97;
  });
}
