import { checksum16, createKeyedHash, sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, errnoOf, HoldfastError, messageOf, StorageError } from "../errors.ts";
import { asBuffer } from "../format/codec.ts";
import {
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameName,
  openFrame,
  parseFrameBlobs,
} from "../format/frame.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import {
  decodeDirectory,
  decodeTrailer,
  type FrameForward,
  openBlobList,
  PACK_HEADER_BYTES,
  PACK_TRAILER_BYTES,
  packObjectName,
  sealBlobList,
} from "../format/pack.ts";
import type { Storage } from "../storage/storage.ts";
import { createFrameKeys } from "./frame-keys.ts";
import type { SealedFrame } from "./frame-writer.ts";
import { keepingPacks, rewriteIndexes } from "./index-compaction.ts";
import { listPacks, loadIndex, readIndex, readPackBlobs } from "./index-loader.ts";
import { createIndexWriter } from "./index-writer.ts";
import { createPackWriter } from "./pack-writer.ts";
import { type Repository, writerKeys } from "./repository.ts";
import { notePruning } from "./running.ts";

/**
 * Puts a damaged repository in order. Nothing that can still be read is given up: new objects are durable before old ones
 * go, and a damaged pack is kept aside under `damaged/`, where nobody reads it.
 */
export interface RepairOptions {
  readonly onProblem: (object: string, message: string) => void;
  readonly onStep?: ((step: string) => void) | undefined;
}

/** All packs that are there, whether indexes list them or not. */
const ALL_FRAMES = { forWriting: true, keepCondemned: true, framesOnly: true } as const;

export interface IndexRepair {
  /** Packs that the new indexes list. */
  readonly packs: number;
  /** Packs whose own directory is damaged: what an old index says of them was kept. */
  readonly damagedPacks: number;
  /** Old indexes that could not be read. */
  readonly damagedIndexes: number;
}

/** Makes the indexes anew from the directories of the packs. */
export async function repairIndex(repository: Repository, options: RepairOptions): Promise<IndexRepair> {
  const note = await notePruning(repository.storage);
  try {
    return await rebuildIndexes(repository, options);
  } finally {
    await note.remove();
  }
}

async function rebuildIndexes(repository: Repository, { onProblem, onStep }: RepairOptions): Promise<IndexRepair> {
  const { storage } = repository;
  const readable: string[] = [];
  const unreadable: string[] = [];
  for await (const { name } of storage.list(PREFIXES.index)) {
    if (parseObjectName(name) === undefined) continue;
    try {
      await readIndex(repository, name);
      readable.push(name);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      onProblem(name, messageOf(error));
      unreadable.push(name);
    }
  }

  onStep?.("reading the directories of all packs");
  const damaged = new Set<string>();
  const indexes = createIndexWriter(repository);
  let packs = 0;
  for (const [name, sizeBytes] of await listPacks(repository)) {
    try {
      await indexes.add(await readPackBlobs(repository, name, sizeBytes));
      packs++;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      onProblem(packObjectName(name), messageOf(error));
      damaged.add(name);
    }
  }
  await indexes.flush();
  const added = indexes.written();

  // The unreadable ones must go before anything that reads all indexes.
  for (const name of unreadable) if (!added.has(name)) await storage.delete(name);
  const old = readable.filter((name) => !added.has(name));
  if (old.length > 0) {
    const { frames } = await loadIndex(repository, ALL_FRAMES);
    await rewriteIndexes(
      repository,
      old,
      keepingPacks(frames, (pack) => damaged.has(pack)),
    );
  }
  return { packs, damagedPacks: damaged.size, damagedIndexes: unreadable.length };
}

export interface PackRepair {
  /** Packs that were damaged, and of which something could be looked for. */
  readonly packs: number;
  readonly savedFrames: number;
  readonly savedBytes: number;
}

/**
 * Looks at every byte of all packs, and copies out of damaged ones each frame that is still whole. With the private key it
 * also finds frames whose pack has lost its directory.
 */
export async function repairPacks(repository: Repository, options: RepairOptions): Promise<PackRepair> {
  const note = await notePruning(repository.storage);
  try {
    return await salvagePacks(repository, options);
  } finally {
    await note.remove();
  }
}

async function salvagePacks(repository: Repository, { onProblem, onStep }: RepairOptions): Promise<PackRepair> {
  const { storage, ring } = repository;
  const damaged = new Set<string>();
  /** Those that are kept aside by now. */
  const gone = new Set<string>();
  const indexes = createIndexWriter(repository);
  const isDamaged = (name: string): boolean => damaged.has(name);
  const writer = createPackWriter(storage, ring.repositoryId, (pack) => indexes.add(pack), isDamaged);
  const extract = createExtractor(repository, await forwardsInIndexes(repository));
  let savedFrames = 0;
  let savedBytes = 0;
  onStep?.("reading all packs");
  for (const [name, sizeBytes] of await listPacks(repository)) {
    const { bytes, isWhole } = await readAsFarAsPossible(storage, packObjectName(name), sizeBytes);
    if (sha256Hex(bytes) === name) continue;
    const frames = extract(bytes, name);
    if (frames === undefined) {
      onProblem(packObjectName(name), "it is damaged, and only a key that may read can find what of it is whole");
      continue;
    }
    const saved = `${frames.length} frame(s) of it are whole`;
    if (isWhole) onProblem(packObjectName(name), `it is damaged; ${saved}`);
    else onProblem(packObjectName(name), `it cannot be read in places, and stays as it is; ${saved}`);
    // Before it may be closed with some of these frames in it.
    damaged.add(name);
    for (const frame of frames) {
      savedFrames++;
      savedBytes += frame.record.length;
      writer.add(frame);
      await writer.ready();
    }
    if (!isWhole) continue;
    await storage.put(`damaged/${name}`, [bytes]);
    gone.add(name);
  }
  await writer.finish();
  await indexes.flush();
  if (gone.size > 0) {
    const loaded = await loadIndex(repository, ALL_FRAMES);
    const affected = loaded.objects.filter(({ packs }) => packs.some((pack) => gone.has(pack)));
    await rewriteIndexes(
      repository,
      affected.map(({ name }) => name),
      keepingPacks(loaded.frames, (pack) => !gone.has(pack)),
    );
    for (const name of gone) await storage.delete(packObjectName(name));
  }
  return { packs: damaged.size, savedFrames, savedBytes };
}

const SECTOR_BYTES = 512;

/** An object's bytes, with zeros where the disc cannot read them. Throws where it is not the disc. */
async function readAsFarAsPossible(
  storage: Storage,
  name: string,
  sizeBytes: number,
): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }> {
  try {
    return { bytes: asBuffer(await storage.get(name)), isWhole: true };
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
  const bytes = Buffer.alloc(sizeBytes);
  await readAround(0, sizeBytes);
  return { bytes, isWhole: false };

  /** Halves what cannot be read until there are single sectors. */
  async function readAround(offset: number, length: number): Promise<void> {
    try {
      bytes.set(await storage.get(name, { offset, length }), offset);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (length <= SECTOR_BYTES) return;
      const half = Math.ceil(length / 2 / SECTOR_BYTES) * SECTOR_BYTES;
      await readAround(offset, half);
      await readAround(offset + half, length - half);
    }
  }
}

function isUnreadable(error: unknown): boolean {
  return error instanceof StorageError && errnoOf(error.cause) === "EIO";
}

/** The frames of a pack that are whole; undefined where only the private key could tell. */
type Extractor = (pack: Buffer, packName: string) => SealedFrame[] | undefined;

/** What indexes say of the frames that others stand for, by the name of the frame that carries the note. */
async function forwardsInIndexes(repository: Repository): Promise<Map<string, readonly FrameForward[]>> {
  const forwards = new Map<string, readonly FrameForward[]>();
  for await (const { name } of repository.storage.list(PREFIXES.index)) {
    try {
      const { frames, origins } = await readIndex(repository, name);
      for (const [frame, notes] of frames.forwards) {
        const origin = origins.subarray(frames.originIndexes[frame] * 32, frames.originIndexes[frame] * 32 + 32);
        forwards.set(frameName(origin, frames.numbers[frame]), notes);
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return forwards;
}

function createExtractor(repository: Repository, forwards: ReadonlyMap<string, readonly FrameForward[]>): Extractor {
  const { ring } = repository;
  const { privateKey, repositoryId, indexKey } = ring;

  /** By the pack's own directory, if that is whole. */
  function byDirectory(pack: Buffer, packName: string): SealedFrame[] {
    const end = pack.length - PACK_TRAILER_BYTES;
    const trailer = decodeTrailer(pack.subarray(end), pack.length);
    const directory = pack.subarray(end - trailer.directoryLength, end);
    if (!checksum16(directory).equals(trailer.checksum)) throw new DamagedError("its directory's checksum is wrong");
    return decodeDirectory(directory, pack.length, packName).flatMap((frame) => {
      const record = Buffer.from(pack.subarray(frame.offset, frame.offset + frame.length));
      if (!checksum16(record).equals(frame.checksum)) return [];
      const list = openBlobList(indexKey, repositoryId, frame.origin, frame.number, frame.sealedBlobs);
      return [{ ...frame, ...list, record }];
    });
  }

  /** By the headers of frames, wherever in the pack they are. */
  function byHeaders(pack: Buffer, key: Buffer): SealedFrame[] {
    const { data, tree } = writerKeys(repository);
    const hashes = { data: createKeyedHash(data), tree: createKeyedHash(tree) };
    const keyOf = createFrameKeys(key, repositoryId);
    const frames: SealedFrame[] = [];
    for (let at = PACK_HEADER_BYTES; at + FRAME_HEADER_BYTES < pack.length;) {
      const header = headerAt(pack, at);
      const frame =
        header && open(header, Buffer.from(pack.subarray(at, at + FRAME_HEADER_BYTES + header.sealedLength)));
      if (frame !== undefined) frames.push(frame);
      at = frame === undefined ? nextMagic(pack, at + 1) : at + frame.record.length;
    }
    return frames;

    function open(header: FrameHeader, record: Buffer): SealedFrame | undefined {
      try {
        const origin = Buffer.from(header.origin);
        const { raw } = openFrame(record, keyOf(origin), repositoryId);
        const blobs = parseFrameBlobs(raw);
        const ids = Buffer.alloc(blobs.count * 32);
        for (let place = 0; place < blobs.count; place++) {
          const blob = raw.subarray(blobs.offsets[place], blobs.offsets[place] + blobs.lengths[place]);
          ids.set(hashes[header.kind].hash(blob), place * 32);
        }
        return {
          kind: header.kind,
          origin,
          number: header.number,
          record,
          checksum: checksum16(record),
          sealedBlobs: sealBlobList(indexKey, repositoryId, origin, header.number, ids, blobs.lengths),
          ids,
          lengths: blobs.lengths,
          forwards: forwards.get(frameName(origin, header.number)),
        };
      } catch (error) {
        if (error instanceof DamagedError) return undefined;
        throw error;
      }
    }
  }

  return (pack, packName) => {
    try {
      return byDirectory(pack, packName);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      return privateKey && byHeaders(pack, privateKey);
    }
  };
}

function headerAt(pack: Buffer, at: number): FrameHeader | undefined {
  try {
    return decodeFrameHeader(pack.subarray(at, at + FRAME_HEADER_BYTES));
  } catch (error) {
    if (error instanceof DamagedError) return undefined;
    throw error;
  }
}

const FRAME_MAGIC = Buffer.from("HFF\x01", "latin1");

function nextMagic(pack: Buffer, from: number): number {
  const found = pack.indexOf(FRAME_MAGIC, from);
  return found < 0 ? pack.length : found;
}
