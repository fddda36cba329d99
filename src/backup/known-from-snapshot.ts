import {
  contentIds,
  decodeContentList,
  decodeEntry,
  type DirectoryEntry,
  encodeEntry,
  iterateTree,
  type TreeEntry,
} from "../format/tree.ts";
import type { BlobReader } from "../repository/blob-reader.ts";
import { createWalkLog } from "./walk-log.ts";

/**
 * Makes a walk log out of a snapshot, for a run whose own log was lost: with it, files of the same size and modification
 * time are not read again. Needs the right to read.
 */
export async function writeLogFromSnapshot(path: string, reader: BlobReader, top: DirectoryEntry): Promise<void> {
  const log = createWalkLog(path);

  async function addEntry(encoded: Buffer, depth: number): Promise<void> {
    const entry = decodeEntry(encoded);
    log.add({
      depth,
      stat: statOf(entry),
      encoded,
      listedIds: entry.type === "file" && entry.listed === true ? await idsInLists(encoded) : Buffer.alloc(0),
      trust: "content",
      sameAs: undefined,
    });
    if (entry.type === "directory") await addTree(entry.tree, depth + 1);
  }

  async function addTree(id: Uint8Array, depth: number): Promise<void> {
    const tree = iterateTree(await reader.readTree(id));
    if (tree.kind === "fan") for (const part of tree.parts) await addTree(part.id, depth);
    else for (const encoded of tree.encodedEntries) await addEntry(encoded, depth);
  }

  async function idsInLists(encoded: Buffer): Promise<Buffer> {
    const lists: Buffer[] = [];
    contentIds(encoded, (idOffset) => lists.push(encoded.subarray(idOffset, idOffset + 32)));
    const ids: Uint8Array[] = [];
    for (const list of lists) {
      for (const blob of decodeContentList(await reader.readTree(list))) ids.push(Uint8Array.from(blob.id));
    }
    return Buffer.concat(ids);
  }

  try {
    await addEntry(encodeEntry(top), 0);
    log.commit();
  } catch (error) {
    log.discard();
    throw error;
  }
}

function statOf(entry: TreeEntry): Parameters<ReturnType<typeof createWalkLog>["add"]>[0]["stat"] {
  return {
    type: entry.type,
    sizeBytes: entry.type === "file" ? entry.sizeBytes : 0,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    ctimeSeconds: 0,
    ctimeNanoseconds: 0,
    inodeHigh: 0,
    inodeLow: 0,
  };
}
