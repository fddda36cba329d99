import { sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, messageOf, ObjectMissingError, SnapshotNotFoundError } from "../errors.ts";
import { parseObjectName, PREFIXES } from "../format/names.ts";
import {
  type DecodedSnapshot,
  decodeSnapshotOpen,
  openSealedPart,
  type SnapshotSealedPart,
} from "../format/snapshot.ts";
import { privateKeyOf, type Repository } from "./repository.ts";

/** What a snapshot record says without a key. */
export interface SnapshotRecord {
  /** SHA-256 of the record, in hex. */
  readonly id: string;
  readonly timeMs: number;
  readonly record: DecodedSnapshot;
  readonly recordBytes: number;
}

/** A record whose sealed part was opened. */
export interface Snapshot extends SnapshotRecord {
  readonly sealed: SnapshotSealedPart;
}

/** How many characters of an id are shown, as restic does. */
export const SHORT_ID_LENGTH = 8;

/**
 * All snapshot records, oldest first. One that cannot be read is told to `onDamaged` and left out; without it, it is an
 * error. Those that are `known` from before are not read again.
 */
export async function listSnapshots(
  repository: Pick<Repository, "storage" | "config">,
  onDamaged?: (id: string, error: unknown) => void,
  known: readonly SnapshotRecord[] = [],
): Promise<SnapshotRecord[]> {
  const { storage } = repository;
  const knownById = new Map(known.map((snapshot) => [snapshot.id, snapshot]));
  const ids: string[] = [];
  for await (const { name } of storage.list(PREFIXES.snapshot)) {
    const parsed = parseObjectName(name);
    if (parsed !== undefined) ids.push(parsed.id);
  }
  const snapshots: SnapshotRecord[] = [];
  const remaining = ids.values();
  async function readSome(): Promise<void> {
    for (const id of remaining) {
      try {
        snapshots.push(knownById.get(id) ?? (await readSnapshot(repository, id)));
      } catch (error) {
        // Forgotten since it was listed.
        if (error instanceof ObjectMissingError) continue;
        if (onDamaged === undefined) throw error;
        onDamaged(id, error);
      }
    }
  }
  await Promise.all(Array.from({ length: READS_AT_ONCE }, readSome));
  return snapshots.sort((a, b) => a.timeMs - b.timeMs || (a.id < b.id ? -1 : 1));
}

const READS_AT_ONCE = 16;

export async function readSnapshot(
  repository: Pick<Repository, "storage" | "config">,
  id: string,
): Promise<SnapshotRecord> {
  const bytes = await repository.storage.get(PREFIXES.snapshot + id);
  const shortId = id.slice(0, SHORT_ID_LENGTH);
  const what = `snapshot ${shortId}`;
  const hint = `a copy of the repository may still have it; "holdfast forget ${shortId}" gives it up`;
  if (sha256Hex(bytes) !== id) {
    throw new DamagedError(`${what} is damaged: its bytes do not match its name`, { hint });
  }
  const record = decodeSnapshotOpen(bytes, what);
  if (!record.repositoryId.equals(repository.config.id)) {
    throw new DamagedError(`${what} is of another repository`, { hint: `"holdfast forget ${shortId}" removes it` });
  }
  if (!record.signatureValid()) {
    throw new DamagedError(`${what} is forged: its signature does not hold`, { hint });
  }
  return { id, timeMs: Date.parse(record.open.time), record, recordBytes: bytes.length };
}

/** Opens the sealed part. Throws `WriteOnlyError` or `DamagedError`. */
export function openSnapshot(repository: Repository, snapshot: SnapshotRecord): Snapshot {
  const what = `snapshot ${snapshot.id.slice(0, SHORT_ID_LENGTH)}`;
  return { ...snapshot, sealed: openSealedPart(privateKeyOf(repository), snapshot.record, what) };
}

/** Lists and opens all snapshots, oldest first; see `listSnapshots` for damaged ones. */
export async function openSnapshots(
  repository: Repository,
  onDamaged?: (id: string, error: unknown) => void,
): Promise<Snapshot[]> {
  const opened: Snapshot[] = [];
  for (const record of await listSnapshots(repository, onDamaged)) {
    try {
      opened.push(openSnapshot(repository, record));
    } catch (error) {
      if (!(error instanceof DamagedError) || onDamaged === undefined) throw error;
      onDamaged(record.id, error);
    }
  }
  return opened;
}

/** Which snapshots a command means, as restic's options of the same names. Those of one kind are alternatives. */
export interface SnapshotFilter {
  readonly hosts?: readonly string[];
  /** Each a comma-separated list of tags that must all be there; "" stands for having none. */
  readonly tags?: readonly string[];
  /** All of them must be among the snapshot's paths. */
  readonly paths?: readonly string[];
}

export function matchesFilter(snapshot: Snapshot, filter: SnapshotFilter): boolean {
  const { hosts = [], tags = [], paths = [] } = filter;
  if (hosts.length > 0 && !hosts.includes(snapshot.record.open.host)) return false;
  if (tags.length > 0 && !tags.some((list) => hasTags(snapshot.sealed.tags, list))) return false;
  return paths.every((path) => (snapshot.sealed.paths as readonly string[]).includes(path));
}

function hasTags(tags: readonly string[], list: string): boolean {
  return list === "" ? tags.length === 0 : list.split(",").every((tag) => tags.includes(tag));
}

/**
 * The snapshot that is named: by `latest` (of those that match the filter), its id, or the start of it.
 * Throws `SnapshotNotFoundError`.
 */
export async function findSnapshot(
  repository: Repository,
  name: string,
  filter: SnapshotFilter = {},
): Promise<Snapshot> {
  if (name === "latest") {
    const damaged: string[] = [];
    const all = await openSnapshots(repository, (id, error) => damaged.push(`${id}: ${messageOf(error)}`));
    const latest = all.filter((snapshot) => matchesFilter(snapshot, filter)).at(-1);
    if (latest !== undefined) return latest;
    throw new SnapshotNotFoundError("there is no snapshot that matches", {
      hint:
        damaged.length > 0
          ? `${damaged.length} snapshot(s) could not be read; run "holdfast check"`
          : 'see "holdfast snapshots" for those that are there',
    });
  }
  return openSnapshot(repository, await readSnapshot(repository, await findSnapshotId(repository, name)));
}

/** The full id of the snapshot whose id starts so. */
export async function findSnapshotId(repository: Pick<Repository, "storage">, prefix: string): Promise<string> {
  const hint = 'see "holdfast snapshots" for those that are there';
  if (!/^[0-9a-f]{1,64}$/.test(prefix)) {
    throw new SnapshotNotFoundError(`"${prefix}" is no snapshot id: those are hexadecimal, or "latest"`, { hint });
  }
  const found: string[] = [];
  for await (const { name } of repository.storage.list(PREFIXES.snapshot)) {
    const id = parseObjectName(name)?.id;
    if (id?.startsWith(prefix) === true) found.push(id);
  }
  if (found.length === 1) return found[0];
  throw new SnapshotNotFoundError(
    found.length === 0
      ? `there is no snapshot ${prefix}`
      : `${found.length} snapshots have ids that start with ${prefix}`,
    { hint: found.length === 0 ? hint : "give more of its digits" },
  );
}
