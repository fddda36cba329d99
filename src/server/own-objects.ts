/** A repository as if it held the objects of one host alone, for pruning: what is copied or merged then stays one host's. */
import { asBuffer } from "../format/codec.ts";
import { decodeCondemned } from "../format/condemned.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import { decodeDirectory, decodeTrailer, PACK_TRAILER_BYTES } from "../format/pack.ts";
import { decodeRunning } from "../format/running.ts";
import { ObjectMissingError } from "../errors.ts";
import { decodeSnapshotOpen } from "../format/snapshot.ts";
import type { Storage, StoredObject } from "../storage/storage.ts";
import { frameSetOf } from "./check-objects.ts";
import type { HostCatalogue } from "./host-catalogue.ts";

/** What `noteRunning` says of the run of a host's session. */
export function runNoteOf(host: string): string {
  return `backup of ${host}`;
}

/**
 * Shows a host's packs, indexes, snapshots and condemned lists, and notes as the host's what is put. Of notes that
 * somebody is at work it hides those of other hosts of the server, whose runs cannot count on this host's packs.
 * Without `host` it shows what is nobody's.
 */
export function objectsOf(
  storage: Storage,
  catalogue: HostCatalogue,
  host: string | undefined,
  otherHosts: ReadonlySet<string>,
): Storage {
  const isOwn = async (kind: "pack" | "index" | "snapshot", id: string) => (await catalogue.ownerOf(kind, id)) === host;
  const hiddenNotes = new Set([...otherHosts].map(runNoteOf));
  const isHidden = new Map<string, boolean>();

  async function isShown({ name }: StoredObject): Promise<boolean> {
    const parsed = parseObjectName(name);
    switch (parsed?.kind) {
      case "pack":
      case "index":
        return isOwn(parsed.kind, parsed.id);
      case "snapshot":
        return (await hostOfSnapshot(parsed.id)) === host;
      case "condemned":
        return isOwnList(name);
      case "running":
        return !(await isHiddenNote(name));
      default:
        return true;
    }
  }

  /** From the record itself where the catalogue does not know it: a snapshot that is overlooked would lose its frames. */
  async function hostOfSnapshot(id: string): Promise<string | undefined> {
    const known = await catalogue.ownerOf("snapshot", id);
    return known ?? decodeSnapshotOpen(await storage.get(PREFIXES.snapshot + id)).open.host;
  }

  async function isOwnList(name: string): Promise<boolean> {
    try {
      const { packs } = decodeCondemned(await storage.get(name), name);
      return packs.length > 0 && (await isOwn("pack", packs[0]));
    } catch (error) {
      if (error instanceof ObjectMissingError) return false;
      throw error;
    }
  }

  async function isHiddenNote(name: string): Promise<boolean> {
    let hidden = isHidden.get(name);
    if (hidden === undefined) {
      try {
        hidden = hiddenNotes.has(decodeRunning(await storage.get(name), name).what);
      } catch {
        // Whoever asks for it will find out; better wait for it than overlook it.
        hidden = false;
      }
      isHidden.set(name, hidden);
    }
    return hidden;
  }

  return {
    location: storage.location,
    async put(name, content) {
      const parsed = parseObjectName(name);
      if (host !== undefined && parsed?.kind === "pack") {
        const bytes = content.length === 1 ? asBuffer(content[0]) : Buffer.concat(content);
        const trailer = decodeTrailer(bytes.subarray(-PACK_TRAILER_BYTES), bytes.length, name);
        const directory = bytes.subarray(trailer.directoryOffset, bytes.length - PACK_TRAILER_BYTES);
        const frames = frameSetOf(decodeDirectory(directory, bytes.length, name));
        await catalogue.addPack(host, { id: parsed.id, sizeBytes: bytes.length, frames });
      }
      const stored = await storage.put(name, content);
      if (host !== undefined && parsed?.kind === "index") await catalogue.addIndex(host, parsed.id);
      return stored;
    },
    get: (name, range) => storage.get(name, range),
    stat: (name) => storage.stat(name),
    delete: (name) => storage.delete(name),
    close: () => storage.close(),
    async *list(prefix) {
      const packs = host !== undefined && prefix === PREFIXES.pack ? await catalogue.packsOf(host) : undefined;
      for await (const object of storage.list(prefix)) {
        const shown = packs === undefined ? await isShown(object) : packs.has(parseObjectName(object.name)?.id ?? "");
        if (shown) yield object;
      }
    },
  };
}
