import { MAXIMUM_NAME_BYTES } from "../../format/tree.ts";
import { attributeHashes, hashText, isRacy, mix, type AttributeHashes } from "./fingerprint.ts";
import type { PartOfFileList } from "./protocol/file-list-decoder.ts";
import { MODE, isDirectory } from "./protocol/file-list.ts";
import type { FileList, ListedFile } from "./protocol/file-list.ts";

/**
 * Digests of folders: equal only as long as all is equal that the list tells of a folder and of all below it. They are
 * made while the list comes, when there is time, so that what has not changed need not be looked at one by one.
 *
 * A folder's digest is made of the sum of those of its entries, as these come in any order: 64 bits in two lanes, each
 * mixed in its own way. It is only held against that of the same folder in the last run, and guards against chance, not
 * against the host, which can say of a file what it likes anyway.
 *
 * There is none where a folder holds what must be looked at each time: hard links (which are known by their first name,
 * wherever that is), files that may have been changed while they were listed, names that are too long.
 */
export interface FolderDigests {
  /** Takes in what has come of the list since the last call. */
  readonly takeIn: (part: PartOfFileList) => void;
  /** Of a directory by its number; to be asked when the whole list was taken in. */
  readonly of: (directory: number) => string | undefined;
}

const FACTORS = [0x01000193, 0x85ebca6b] as const;
const LANES = FACTORS.length;
const IMPLIED = 0x6a09e667;

/** `circumstances`: whatever else must be the same for a folder to be saved in the same way. */
export function folderDigests(circumstances: string, listedMs: number): FolderDigests {
  const seeds = FACTORS.map((factor) => hashText(circumstances, factor));
  let hashes: readonly AttributeHashes[] | undefined;
  let sums = new Uint32Array(LANES * 256);
  let isUnfit = new Uint8Array(256);
  let taken = 0;
  let whole: FileList | undefined;

  function makeRoom(directories: number): void {
    if (directories <= isUnfit.length) return;
    const room = 2 ** Math.ceil(Math.log2(directories));
    const [oldSums, oldUnfit] = [sums, isUnfit];
    sums = new Uint32Array(room * LANES);
    sums.set(oldSums);
    isUnfit = new Uint8Array(room);
    isUnfit.set(oldUnfit);
  }

  function takeEntry(list: FileList, attributes: readonly AttributeHashes[], entry: number): void {
    const file = list.file(entry);
    const parent = list.parentOf(entry);
    const directory = isDirectory(file.mode) ? list.directoryOf(entry) : -1;
    const isSecond = directory >= 0 && list.entryOfDirectory(directory) !== entry;
    if (isSecond || list.linkGroup.get(entry) !== 0 || isRacy(file, listedMs)) isUnfit[parent] = 1;
    if (list.store.length(list.namePlace(entry)) > MAXIMUM_NAME_BYTES) isUnfit[parent] = 1;
    const place = (directory < 0 ? parent : directory) * LANES;
    for (let lane = 0; lane < LANES; lane++) sums[place + lane] += hashEntry(list, attributes[lane], entry, file, lane);
  }

  /** Gives each folder's digest to the sum of the one it lies in: later numbers lie in earlier ones. */
  function finish(list: FileList): void {
    makeRoom(list.directoryCount);
    for (let directory = list.directoryCount - 1; directory >= 0; directory--) {
      const parent = list.parentOfDirectory(directory);
      const isImplied = list.entryOfDirectory(directory) < 0;
      if (isUnfit[directory] === 1) isUnfit[parent] = 1;
      for (let lane = 0; lane < LANES; lane++) {
        const at = directory * LANES + lane;
        if (isImplied) sums[at] += mix(list.store.hash(list.directoryNamePlace(directory), FACTORS[lane]), IMPLIED);
        sums[at] = mix(mix(FACTORS[lane], seeds[lane]), sums[at]);
        if (directory > 0) sums[parent * LANES + lane] += sums[at];
      }
    }
  }

  return {
    takeIn(part) {
      hashes ??= FACTORS.map((factor) => attributeHashes(part, factor));
      whole = part.list;
      makeRoom(whole.directoryCount);
      for (; taken < whole.count; taken++) takeEntry(whole, hashes, taken);
    },
    of(directory) {
      if (whole !== undefined) finish(whole);
      whole = undefined;
      if (isUnfit[directory] === 1) return undefined;
      return Buffer.from(sums.buffer, directory * LANES * 4, LANES * 4).latin1Slice();
    },
  };
}

function hashEntry(
  list: FileList,
  attributes: AttributeHashes,
  entry: number,
  { mode, sizeBytes, mtimeSeconds, mtimeNanoseconds, uid, gid }: ListedFile,
  lane: number,
): number {
  const factor = FACTORS[lane];
  let hash = mix(list.store.hash(list.namePlace(entry), factor), mode);
  hash = mix(mix(hash, sizeBytes), Math.floor(sizeBytes / 2 ** 32));
  hash = mix(mix(hash, mtimeSeconds), Math.floor(mtimeSeconds / 2 ** 32));
  hash = mix(mix(mix(hash, mtimeNanoseconds), uid), gid);
  hash = mix(hash, attributes.access(list.accessAcl.get(entry) - 1));
  hash = mix(hash, attributes.default(list.defaultAcl.get(entry) - 1));
  hash = mix(hash, attributes.xattrs(list.xattrs.get(entry) - 1));
  const type = mode & MODE.typeMask;
  const hasDetail = type === MODE.symlink || type === MODE.block || type === MODE.character;
  return hasDetail ? mix(hash, list.hashDetail(entry, factor)) : hash;
}
