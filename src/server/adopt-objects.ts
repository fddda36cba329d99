/**
 * Brings a catalogue in line with the repository: after the server's own work on it (pruning makes packs and indexes),
 * and when the catalogue was lost.
 */
import { asBuffer } from "../format/codec.ts";
import { decodeFrameSet } from "../format/frame-set.ts";
import { decodeIndex } from "../format/index-object.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import { readDirectory } from "../format/pack.ts";
import { listSnapshots } from "../repository/snapshots.ts";
import { frameSetOf } from "./check-objects.ts";
import type { Account } from "./host-directory.ts";

export interface Adopted {
  readonly packs: number;
  readonly indexes: number;
  readonly snapshots: number;
  /** Objects that belong to no host, or to several: no host sees them. */
  readonly unowned: readonly string[];
}

/**
 * `hostOfSigner` tells which host a signing key (32 bytes) was approved for, now or earlier. Owners of origins come from
 * snapshots, which were let in only with frames of their host's, and from the catalogue as it is.
 */
export async function adoptObjects(
  account: Account,
  hostOfSigner: (signer: Uint8Array) => Promise<string | undefined>,
): Promise<Adopted> {
  const { storage, catalogue, repositoryId } = account;
  const unowned: string[] = [];
  const counts = { packs: 0, indexes: 0, snapshots: 0 };
  const owners = new Map<string, string>();

  const config = { id: Buffer.from(repositoryId), created: "", publicKey: Buffer.alloc(32) };
  const records = await listSnapshots({ storage, config }, (id) => unowned.push(PREFIXES.snapshot + id));
  for (const { id, timeMs, record } of records) {
    const host = await hostOfSigner(record.signer);
    if (host === undefined || host !== record.open.host) {
      unowned.push(PREFIXES.snapshot + id);
      continue;
    }
    const { origins, originCount } = decodeFrameSet(record.frameSetBytes, `frame set of snapshot ${id}`);
    for (let at = 0; at < originCount; at++) owners.set(origins.latin1Slice(at * 32, at * 32 + 32), host);
    if ((await catalogue.ownerOf("snapshot", id)) !== undefined) continue;
    await catalogue.addSnapshot(host, { id, timeMs });
    counts.snapshots++;
  }

  async function ownerOfOrigin(origin: Buffer): Promise<string | undefined> {
    return owners.get(origin.latin1Slice()) ?? (await catalogue.ownerOfOrigin(origin));
  }

  for await (const { name, sizeBytes } of storage.list(PREFIXES.pack)) {
    const id = parseObjectName(name)?.id;
    if (id === undefined || (await catalogue.ownerOf("pack", id)) !== undefined) continue;
    const frames = await readDirectory(storage, id, sizeBytes);
    const found = await Promise.all(distinct(frames.map((frame) => frame.origin)).map(ownerOfOrigin));
    // A frame that was laid anew is of an origin that no snapshot names, and speaks of those that it stands for.
    const forwarded = frames.flatMap(({ forwards = [] }) => forwards.map((forward) => asBuffer(forward.origin)));
    const spokenOf = await Promise.all(distinct(forwarded).map(ownerOfOrigin));
    const known = [...new Set([...found, ...spokenOf].filter((host) => host !== undefined))];
    const isWhole = found.every((host) => host !== undefined) || spokenOf.length > 0;
    if (known.length !== 1 || !isWhole) {
      unowned.push(name);
      continue;
    }
    await catalogue.addPack(known[0], { id, sizeBytes, frames: frameSetOf(frames) });
    counts.packs++;
  }

  for await (const { name } of storage.list(PREFIXES.index)) {
    const id = parseObjectName(name)?.id;
    if (id === undefined || (await catalogue.ownerOf("index", id)) !== undefined) continue;
    const index = decodeIndex(await storage.get(name), name);
    const hosts = new Set<string | undefined>();
    for (let at = 0; at < index.packCount; at++) {
      hosts.add(await catalogue.ownerOf("pack", index.packNames.toString("hex", at * 32, at * 32 + 32)));
    }
    const [host] = hosts;
    if (hosts.size !== 1 || host === undefined) {
      unowned.push(name);
      continue;
    }
    await catalogue.addIndex(host, id);
    counts.indexes++;
  }
  return { ...counts, unowned };
}

function distinct(origins: readonly Buffer[]): Buffer[] {
  return [...new Map(origins.map((origin) => [origin.latin1Slice(), origin])).values()];
}
