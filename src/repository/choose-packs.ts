import { PACK_TARGET_BYTES } from "./pack-writer.ts";

/** How much of a pack snapshots need. What is neither needed nor wasted is its directory. */
export interface PackUse {
  /** In hex. */
  readonly name: string;
  /** Place in the frame table. */
  readonly index: number;
  readonly sizeBytes: number;
  readonly liveBytes: number;
  readonly wastedBytes: number;
}

export interface RepackLimits {
  /** How much may stay unused. */
  readonly allowedUnusedBytes: number;
  /** How many live bytes may be copied. */
  readonly maximumBytes: number;
  /** Packs that are chosen whatever the limits are, by name. */
  readonly mustGo?: ReadonlySet<string>;
}

/** Packs below this part of the usual size are merged, when there are many. */
const SMALL_PACK_RATIO = 0.25;
const SMALL_PACKS_TO_MERGE = 16;

/** The emptiest packs first, until no more is unused than may be; and small packs, if there are many of them. */
export function choosePacksToRepack(uses: readonly PackUse[], limits: RepackLimits): PackUse[] {
  const chosen = new Set<PackUse>();
  let unusedBytes = uses.reduce((sum, pack) => sum + pack.wastedBytes, 0);
  let copiedBytes = 0;
  function choose(pack: PackUse): void {
    if (chosen.has(pack)) return;
    chosen.add(pack);
    copiedBytes += pack.liveBytes;
    unusedBytes -= pack.wastedBytes;
  }
  const fits = (pack: PackUse): boolean => copiedBytes + pack.liveBytes <= limits.maximumBytes;

  for (const pack of uses) if (limits.mustGo?.has(pack.name) === true) choose(pack);
  const wasteRatio = (pack: PackUse): number => pack.wastedBytes / pack.sizeBytes;
  const byWaste = uses
    .filter((pack) => pack.wastedBytes > 0)
    .sort((a, b) => wasteRatio(b) - wasteRatio(a) || (a.name < b.name ? -1 : 1));
  for (const pack of byWaste) {
    if (unusedBytes <= limits.allowedUnusedBytes) break;
    if (fits(pack)) choose(pack);
  }
  const small = uses.filter((pack) => pack.sizeBytes < PACK_TARGET_BYTES * SMALL_PACK_RATIO);
  if (small.length >= SMALL_PACKS_TO_MERGE) for (const pack of small) if (fits(pack)) choose(pack);
  return [...chosen];
}
