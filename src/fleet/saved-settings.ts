/**
 * The server's settings, kept in each account's repository as well, so that a server can be brought back from storage
 * alone (docs/format.md, "Settings"). They are sealed under a key that comes from the repository's private key, or from
 * the writer's secret where the server does not have that: who holds the storage can neither read nor make them.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { open, seal, SealBrokenError } from "../crypto/aead.ts";
import type { KeyRing } from "../crypto/key-ring.ts";
import { createKeyedHash, deriveKey, sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, messageOf } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { listAccounts, type Account } from "./accounts.ts";
import type { Database } from "./database/open.ts";
import { earlierKeysOf, listHosts, type EarlierKey } from "./hosts.ts";
import { listPolicies, policySettings } from "./policies.ts";

const hostKeys = z.object({ signingKey: z.string(), sshKey: z.string() });
const pull = z.object({
  login: z.string(),
  port: z.int(),
  identityFile: z.string().optional(),
  hostKeys: z.array(z.string()).readonly(),
  pathsFrom: z.enum(["policy", "host"]),
});
const quota = z.object({ softBytes: z.number().optional(), hardBytes: z.number().optional() });

const savedSettings = z.object({
  /** Counts up with each change. */
  version: z.int().min(1),
  time: z.string(),
  account: z.object({ name: z.string(), keyMode: z.enum(["server", "owner"]), quota, createdMs: z.number() }),
  policies: z.array(policySettings.extend({ name: z.string() })),
  hosts: z.array(
    z.object({
      name: z.string(),
      policy: z.string(),
      state: z.enum(["new", "pending-approval", "active", "suspended"]),
      keyMode: z.enum(["full", "write-only"]),
      keys: hostKeys.optional(),
      earlierKeys: z.array(z.object({ signingKey: z.string(), untilMs: z.number() })).optional(),
      pull: pull.optional(),
      quota,
      createdMs: z.number(),
    }),
  ),
});

export type SavedSettings = z.infer<typeof savedSettings>;

export interface FoundSettings {
  readonly settings: SavedSettings;
  /** `writer`: whoever may write to the repository could have made them. */
  readonly sealedBy: "private" | "writer";
}

export const SETTINGS_PREFIX = "settings/";
const NAME = /^settings\/([0-9a-f]{64})$/;
const MAGIC = Buffer.from("HFST\x01\0\0\0", "latin1");
const SEALED_BY = { private: 1, writer: 2 } as const;
const HEADER_BYTES = MAGIC.length + 16 + 1 + 32;
const MAXIMUM_BYTES = 64 * 1024 * 1024;

/** What an account's repository should say now, but for version and time. */
async function currentSettings(database: Database, account: Account): Promise<Omit<SavedSettings, "version" | "time">> {
  const { name, keyMode, quota: accountQuota, createdMs } = account;
  const hosts = (await listHosts(database)).filter((host) => host.accountId === account.id);
  const used = new Set(hosts.map(({ policy }) => policy));
  const policies = (await listPolicies(database)).filter(
    (policy) => used.has(policy.name) || policy.name === "default",
  );
  const earlier = new Map<number, EarlierKey[]>();
  for (const host of hosts) {
    const keys = await earlierKeysOf(database, host.id);
    if (keys.length > 0) earlier.set(host.id, keys);
  }
  return {
    account: { name, keyMode, quota: accountQuota, createdMs },
    policies,
    hosts: hosts.map((host) => ({
      name: host.name,
      policy: host.policy,
      state: host.state,
      keyMode: host.keyMode,
      ...(host.keys && { keys: host.keys }),
      ...(earlier.has(host.id) && { earlierKeys: earlier.get(host.id) }),
      ...(host.pull && { pull: { ...host.pull, form: undefined } }),
      quota: host.quota,
      createdMs: host.createdMs,
    })),
  };
}

/** Stores an account's settings where they are not those stored already. The earlier ones go when the new ones are durable. */
export async function saveSettings(
  database: Database,
  account: Account,
  { storage, ring }: { readonly storage: Storage; readonly ring: KeyRing },
  now: Date,
): Promise<boolean> {
  const current = await currentSettings(database, account);
  const names = await settingsObjects(storage);
  const stored = await readNewest(storage, names, ring);
  if (stored !== undefined) {
    const { version: _version, time: _time, ...before } = stored.settings;
    if (names.length === 1 && sameJson(before, current)) return false;
  }
  const version = (stored?.settings.version ?? 0) + 1;
  const bytes = encodeSettings({ version, time: now.toISOString(), ...current }, ring);
  const name = SETTINGS_PREFIX + sha256Hex(bytes);
  await storage.put(name, [bytes]);
  for (const old of names) if (old !== name) await storage.delete(old);
  return true;
}

/** Saves the settings of all accounts; what went wrong with which. */
export async function saveAllSettings(
  database: Database,
  openRepository: (account: Account) => Promise<{ readonly storage: Storage; readonly ring: KeyRing }>,
  now: Date,
): Promise<Map<string, unknown>> {
  const failed = new Map<string, unknown>();
  for (const account of await listAccounts(database)) {
    try {
      await saveSettings(database, account, await openRepository(account), now);
    } catch (error) {
      failed.set(account.name, error);
    }
  }
  return failed;
}

/** The newest settings that a repository holds; undefined where it has none. Throws `DamagedError` where none can be read. */
export async function findSettings(storage: Storage, ring: KeyRing): Promise<FoundSettings | undefined> {
  const names = await settingsObjects(storage);
  const found = await readNewest(storage, names, ring);
  if (found !== undefined || names.length === 0) return found;
  throw new DamagedError(`the settings in ${storage.location} cannot be read with this key`, {
    hint: "use the recovery key, or go on without them: the hosts then have to enrol again",
  });
}

async function settingsObjects(storage: Storage): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, sizeBytes } of storage.list(SETTINGS_PREFIX)) {
    if (NAME.test(name) && sizeBytes <= MAXIMUM_BYTES) names.push(name);
  }
  return names.toSorted();
}

/** Those sealed with the private key come before those that any writer could have made. */
async function readNewest(
  storage: Storage,
  names: readonly string[],
  ring: KeyRing,
): Promise<FoundSettings | undefined> {
  const found: FoundSettings[] = [];
  for (const name of names) {
    const bytes = Buffer.from(await storage.get(name));
    try {
      if (SETTINGS_PREFIX + sha256Hex(bytes) !== name) throw new DamagedError(`${name} does not match its name`);
      found.push(decodeSettings(bytes, ring, name));
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
    }
  }
  const rank = ({ settings, sealedBy }: FoundSettings): number =>
    settings.version + (sealedBy === "private" ? 1e15 : 0);
  return found.toSorted((a, b) => rank(b) - rank(a))[0];
}

/** Exported for tests. */
export function encodeSettings(settings: SavedSettings, ring: KeyRing): Buffer {
  const sealedBy = ring.privateKey === undefined ? "writer" : "private";
  const salt = randomBytes(32);
  const header = Buffer.concat([MAGIC, ring.repositoryId, Buffer.of(SEALED_BY[sealedBy]), salt]);
  const sealed = seal(settingsKey(ring, sealedBy, salt), 0, header, [Buffer.from(JSON.stringify(settings), "utf8")]);
  return Buffer.concat([header, sealed]);
}

/** Throws `DamagedError`, naming the object by `what`. */
export function decodeSettings(bytes: Buffer, ring: KeyRing, what = "settings"): FoundSettings {
  const fail = (problem: string, cause?: unknown) => new DamagedError(`${what}: ${problem}`, { cause });
  if (bytes.length <= HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC))
    throw fail("they do not start as settings do");
  if (!bytes.subarray(8, 24).equals(ring.repositoryId)) throw fail("they are of another repository");
  const sealedBy = bytes[24] === SEALED_BY.private ? "private" : bytes[24] === SEALED_BY.writer ? "writer" : undefined;
  if (sealedBy === undefined) throw fail("they are sealed in an unknown way");
  const header = bytes.subarray(0, HEADER_BYTES);
  try {
    const key = settingsKey(ring, sealedBy, bytes.subarray(25, HEADER_BYTES));
    const plain = open(key, 0, header, bytes.subarray(HEADER_BYTES));
    return { settings: savedSettings.parse(JSON.parse(plain.toString("utf8"))), sealedBy };
  } catch (cause) {
    if (cause instanceof SealBrokenError || cause instanceof z.ZodError || cause instanceof SyntaxError) {
      throw fail(messageOf(cause), cause);
    }
    throw cause;
  }
}

function settingsKey(ring: KeyRing, sealedBy: FoundSettings["sealedBy"], salt: Uint8Array): Buffer {
  const secret = sealedBy === "private" ? ring.privateKey : ring.writerSecret;
  if (secret === undefined) throw new DamagedError("the settings are sealed under a key that is not at hand");
  const key = deriveKey("holdfast 2026 server settings", secret);
  return Buffer.from(createKeyedHash(key).hash(salt));
}

function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}
