import { RefusedError } from "../errors.ts";
import { asBuffer } from "../format/codec.ts";
import { decodeFrameSet } from "../format/frame-set.ts";
import type { CataloguedPack, CataloguedSnapshot, HostCatalogue } from "./host-catalogue.ts";

interface HostEntries {
  readonly packs: Map<string, CataloguedPack>;
  readonly indexes: Set<string>;
  readonly snapshots: Map<string, CataloguedSnapshot>;
}

/** A catalogue that lives as long as the process: for tests, and to make one anew in. */
export function createMemoryCatalogue(): HostCatalogue {
  const hosts = new Map<string, HostEntries>();
  const origins = new Map<string, string>();

  function entriesOf(host: string): HostEntries {
    let entries = hosts.get(host);
    if (entries === undefined) {
      entries = { packs: new Map(), indexes: new Set(), snapshots: new Map() };
      hosts.set(host, entries);
    }
    return entries;
  }

  return {
    packsOf: async (host) => new Map(entriesOf(host).packs),
    indexesOf: async (host) => new Set(entriesOf(host).indexes),
    snapshotsOf: async (host) => new Map(entriesOf(host).snapshots),
    async ownerOf(kind, id) {
      const field = ({ pack: "packs", index: "indexes", snapshot: "snapshots" } as const)[kind];
      for (const [host, entries] of hosts) if (entries[field].has(id)) return host;
      return undefined;
    },
    ownerOfOrigin: async (origin) => origins.get(asBuffer(origin).toString("hex")),
    async addPack(host, pack) {
      const claimed = originsOf(pack.frames);
      if (claimed.some((origin) => (origins.get(origin) ?? host) !== host)) {
        throw new RefusedError(`pack ${pack.id.slice(0, 16)}… holds frames that are not this host's`);
      }
      for (const origin of claimed) origins.set(origin, host);
      entriesOf(host).packs.set(pack.id, pack);
    },
    async addIndex(host, id) {
      entriesOf(host).indexes.add(id);
    },
    async addSnapshot(host, snapshot) {
      entriesOf(host).snapshots.set(snapshot.id, snapshot);
    },
  };
}

/** In hex. */
export function originsOf(frames: Uint8Array): string[] {
  const { originCount, origins } = decodeFrameSet(frames);
  return Array.from({ length: originCount }, (_, index) => origins.toString("hex", index * 32, index * 32 + 32));
}
