/**
 * PORT: which objects of an account's repository are whose. The repository itself does not say it of packs and indexes:
 * a pack belongs to the host that its frames' origins belong to, and an origin to the host that first brought it.
 *
 * What is durable here may outlive the object that it speaks of (pruning deletes packs), never the other way round: a
 * pack is noted before it is stored. Lost as a whole, it can be made anew from snapshots, whose frame
 * sets name only their host's origins, and from the directories of packs.
 */
export interface HostCatalogue {
  packsOf(host: string): Promise<ReadonlyMap<string, CataloguedPack>>;
  /** Ids of index objects. */
  indexesOf(host: string): Promise<ReadonlySet<string>>;
  /** By id; those that are deleted since may be among them. */
  snapshotsOf(host: string): Promise<ReadonlyMap<string, CataloguedSnapshot>>;
  /** Which host the object of this id is noted for. */
  ownerOf(kind: "pack" | "index" | "snapshot", id: string): Promise<string | undefined>;
  /** Which host brought frames of this origin first. */
  ownerOfOrigin(origin: Uint8Array): Promise<string | undefined>;
  /**
   * Notes a pack, and its origins as this host's. All or nothing, durable when it resolves; noting it again does nothing.
   * `RefusedError` where an origin is another host's.
   */
  addPack(host: string, pack: CataloguedPack): Promise<void>;
  addIndex(host: string, id: string): Promise<void>;
  addSnapshot(host: string, snapshot: CataloguedSnapshot): Promise<void>;
}

export interface CataloguedPack {
  /** SHA-256 in hex. */
  readonly id: string;
  readonly sizeBytes: number;
  /** The frames in it, as `encodeFrameSet` writes them: some 40 bytes for most packs. */
  readonly frames: Uint8Array;
}

export interface CataloguedSnapshot {
  readonly id: string;
  readonly timeMs: number;
}
