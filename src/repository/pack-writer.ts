import { createHash, type Hash } from "node:crypto";
import { encodePackEnd, encodePackHeader, packObjectName } from "../format/pack.ts";
import { freeMemory } from "../platform/free-memory.ts";
import type { Storage } from "../storage/storage.ts";
import type { SealedFrame } from "./frame-writer.ts";

/** What became of a pack: durable in storage under its name. */
export interface StoredPack {
  /** SHA-256 of its bytes. */
  readonly name: Buffer;
  readonly sizeBytes: number;
  readonly frames: readonly PackedFrame[];
}

/** A frame's place in its pack; what an index needs of it. */
export interface PackedFrame extends Omit<SealedFrame, "record"> {
  readonly offset: number;
  /** Of the whole record. */
  readonly length: number;
}

/**
 * Gathers frames into packs and stores them. One pack is filled in memory while the one before (or as many as the storage
 * takes at once) is being written; more than that is never held: callers wait for `ready()` before they make more frames.
 */
export interface PackWriter {
  add(frame: SealedFrame): void;
  /** Resolves when there is room for more. Rejects as soon as a pack could not be stored. */
  ready(): Promise<void>;
  /** Stores what is there, and resolves when all packs are durable. */
  finish(): Promise<void>;
  /** Bytes of frames that were given, and of those that are durable. */
  readonly progress: { givenBytes: number; durableBytes: number };
}

export const PACK_TARGET_BYTES = 16 * 1024 * 1024;

/**
 * `isTaken` tells of names (in hex) that a new pack must not have. A pack of the same frames as another is the same to the
 * last byte, and so would not be stored: it is made to differ where that one is about to go, or is damaged.
 */
export function createPackWriter(
  storage: Storage,
  repositoryId: Uint8Array,
  onStored: (pack: StoredPack) => void | Promise<void>,
  isTaken: (name: string) => boolean = () => false,
): PackWriter {
  const progress = { givenBytes: 0, durableBytes: 0 };
  const storesAtOnce = storage.putsAtOnce ?? 1;
  let open: OpenPack | undefined;
  const underWay: Promise<void>[] = [];
  let failure: { readonly error: unknown } | undefined;

  function close(): void {
    const pack = open;
    if (pack === undefined) return;
    open = undefined;
    const before = underWay.at(-storesAtOnce);
    const storing = (async () => {
      await before;
      try {
        if (failure === undefined) await store(pack);
      } catch (error) {
        failure ??= { error };
      }
    })();
    underWay.push(storing);
    void storing.then(() => underWay.splice(underWay.indexOf(storing), 1));
  }

  async function store(pack: OpenPack): Promise<void> {
    let end = encodePackEnd(pack.frames);
    while (isTaken(pack.hash.copy().update(end).digest("hex"))) {
      repeatFirstFrame(pack);
      end = encodePackEnd(pack.frames);
    }
    append(pack, end);
    const name = pack.hash.digest();
    await storage.put(packObjectName(name.toString("hex")), pack.parts);
    progress.durableBytes += pack.sizeBytes;
    // Waiting for the garbage collector to see how much memory hangs on these small objects takes too long.
    // Each was made for one frame, and belongs to nobody else.
    for (const part of new Set(pack.parts)) freeMemory(part);
    await onStored({ name, sizeBytes: pack.sizeBytes, frames: pack.frames });
  }

  return {
    progress,
    add(frame) {
      if (open === undefined) {
        open = { parts: [], sizeBytes: 0, hash: createHash("sha256"), frames: [] };
        append(open, encodePackHeader(repositoryId));
      }
      const { record, ...rest } = frame;
      open.frames.push({ ...rest, offset: open.sizeBytes, length: record.length });
      append(open, record);
      progress.givenBytes += record.length;
      if (open.sizeBytes >= PACK_TARGET_BYTES) close();
    },
    async ready() {
      while (failure === undefined && underWay.length > storesAtOnce) await Promise.race(underWay);
      if (failure !== undefined) throw failure.error;
    },
    async finish() {
      close();
      await Promise.all(underWay);
      if (failure !== undefined) throw failure.error;
    },
  };
}

interface OpenPack {
  readonly parts: Uint8Array[];
  sizeBytes: number;
  readonly hash: Hash;
  readonly frames: PackedFrame[];
}

function append(pack: OpenPack, bytes: Uint8Array): void {
  pack.parts.push(bytes);
  pack.hash.update(bytes);
  pack.sizeBytes += bytes.length;
}

/** Of a frame that stands twice in a pack, either will do. */
function repeatFirstFrame(pack: OpenPack): void {
  pack.frames.push({ ...pack.frames[0], offset: pack.sizeBytes });
  append(pack, pack.parts[1]);
}
