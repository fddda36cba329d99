/** Accounts: hosts that belong together, with one repository and one key ring. */
import { existsSync, readFileSync, statfsSync, statSync } from "node:fs";
import { z } from "zod";
import { decodeKeyRing, encodeKeyRing, toWriteOnly, type KeyRing } from "../crypto/key-ring.ts";
import { DamagedError, errnoOf, messageOf, UsageError } from "../errors.ts";
import { createRepository, openRepository, type Repository } from "../repository/repository.ts";
import type { Quota } from "../retention/space.ts";
import { createStorage, openStorage, parseStorageUrl } from "../storage/open.ts";
import type { AccountTable } from "./database/schema.ts";
import type { Database } from "./database/open.ts";
import { dataFile } from "./data-folder.ts";
import { checkName } from "./names.ts";
import { writeFileDurably } from "./write-file.ts";

export interface Account {
  readonly id: number;
  readonly name: string;
  readonly storageUrl: string;
  /** `server`: the server's key ring opens what is stored. `owner`: it can write, check and prune, but not read. */
  readonly keyMode: AccountTable["key_mode"];
  readonly quota: Partial<Quota>;
  readonly createdMs: number;
}

export const DEFAULT_ACCOUNT_NAME = "default";

export async function listAccounts(database: Database): Promise<Account[]> {
  const rows = await database.selectFrom("accounts").selectAll().orderBy("name").execute();
  return rows.map(accountOf);
}

/** Throws `UsageError` where there is none of this name. */
export async function findAccount(database: Database, name: string): Promise<Account> {
  const row = await database.selectFrom("accounts").selectAll().where("name", "=", name).executeTakeFirst();
  if (row !== undefined) return accountOf(row);
  throw new UsageError(`there is no account "${name}"`, { hint: 'see "holdfast account list"' });
}

function accountOf(row: {
  readonly id: number;
  readonly name: string;
  readonly storage_url: string;
  readonly key_mode: AccountTable["key_mode"];
  readonly soft_quota_bytes: number | null;
  readonly hard_quota_bytes: number | null;
  readonly created_ms: number;
}): Account {
  return {
    id: row.id,
    name: row.name,
    storageUrl: row.storage_url,
    keyMode: row.key_mode,
    quota: quotaOf(row),
    createdMs: row.created_ms,
  };
}

interface QuotaColumns {
  readonly soft_quota_bytes: number | null;
  readonly hard_quota_bytes: number | null;
}

export function quotaOf({ soft_quota_bytes: soft, hard_quota_bytes: hard }: QuotaColumns): Partial<Quota> {
  return { ...(soft !== null && { softBytes: soft }), ...(hard !== null && { hardBytes: hard }) };
}

/** Of a hard quota, what is used before older snapshots make way. */
const SOFT_PART = 0.9;

/**
 * As retention takes it. Where only the hard one is set, older snapshots make way before it is reached: else the first run
 * that has no room would be the last. Undefined where there is none at all.
 */
export function fullQuota({ softBytes, hardBytes }: Partial<Quota>): Quota | undefined {
  if (softBytes === undefined && hardBytes === undefined) return undefined;
  return { softBytes: softBytes ?? (hardBytes ?? Infinity) * SOFT_PART, hardBytes: hardBytes ?? Infinity };
}

/** Throws `UsageError` where the bounds contradict each other. */
export function checkQuota({ softBytes, hardBytes }: Partial<Quota>): void {
  if (softBytes === undefined || hardBytes === undefined || softBytes <= hardBytes) return;
  throw new UsageError("the soft quota is larger than the hard one");
}

export interface NewAccount {
  readonly name: string;
  /** Undefined for a folder of the server's own. */
  readonly storageUrl: string | undefined;
  readonly keyMode: Account["keyMode"];
  readonly quota: Partial<Quota>;
}

export interface CreatedAccount {
  readonly account: Account;
  /** An age identity that opens everything: to be shown once and kept by nobody but the owner. */
  readonly recoveryIdentity: string;
}

/**
 * Makes an account with a new repository, whose first key file is for a recovery identity that is made here. The key ring
 * is on disc before the account is in the database, and the repository's `config` before both.
 */
export async function createAccount(
  database: Database,
  dataFolder: string,
  wanted: NewAccount,
  now: Date,
): Promise<CreatedAccount> {
  const { name, keyMode, quota } = wanted;
  checkName("account", name);
  checkQuota(quota);
  const storageUrl = wanted.storageUrl ?? dataFile.repository(dataFolder, name);
  await refuseKnown(database, name, storageUrl);
  refuseToReplaceKeys(dataFolder, name);
  parseStorageUrl(storageUrl);
  const { generateX25519Identity, identityToRecipient } = await import("age-encryption");
  const recoveryIdentity = await generateX25519Identity();
  const recipients = [await identityToRecipient(recoveryIdentity)];
  const storage = await createStorage(storageUrl);
  let ring: KeyRing;
  try {
    ring = (await createRepository(storage, { recipients, label: "recovery", now })).ring;
  } finally {
    await storage.close();
  }
  keepKeyRing(dataFolder, { name, storageUrl, keyMode }, ring);
  const account = await recordAccount(database, { name, storageUrl, keyMode, quota, createdMs: now.getTime() });
  return { account, recoveryIdentity };
}

/** Throws `UsageError` where the database has an account of this name or with this repository. */
export async function refuseKnown(database: Database, name: string, storageUrl: string): Promise<void> {
  const known = await database
    .selectFrom("accounts")
    .select("name")
    .where((is) => is.or([is("name", "=", name), is("storage_url", "=", storageUrl)]))
    .executeTakeFirst();
  if (known === undefined) return;
  const what =
    known.name === name ? `there is an account "${name}"` : `${storageUrl} belongs to the account "${known.name}"`;
  throw new UsageError(`${what} already`);
}

/** The key ring of another repository is never overwritten: it may be the only one. Throws `UsageError`. */
export function refuseToReplaceKeys(dataFolder: string, name: string, repositoryId?: Buffer): void {
  if (!existsSync(dataFile.keyRing(dataFolder, name))) return;
  if (repositoryId !== undefined && readKeyRing(dataFolder, name).repositoryId.equals(repositoryId)) return;
  throw new UsageError(
    `there is a key ring of an account "${name}" already, in ${dataFile.keyRing(dataFolder, name)}`,
    {
      hint: "choose another name; a restart of the server brings the account itself back",
    },
  );
}

/** Keeps what the server may have of a key ring, and where its repository is. */
export function keepKeyRing(
  dataFolder: string,
  { name, storageUrl, keyMode }: Pick<Account, "name" | "storageUrl" | "keyMode">,
  ring: KeyRing,
): void {
  const kept = keyMode === "owner" ? toWriteOnly(ring) : ring;
  writeFileDurably(dataFile.keyRing(dataFolder, name), encodeKeyRing(kept, { label: name }));
  writeFileDurably(
    dataFile.account(dataFolder, name),
    `${JSON.stringify({ name, storageUrl, keyMode }, undefined, 2)}\n`,
  );
}

const keptAccount = z.object({ storageUrl: z.string() });

/** Where an account's repository is, from the data folder alone. Throws `UsageError` where there is no such account. */
export function storageOfAccount(dataFolder: string, name: string): string {
  const file = dataFile.account(dataFolder, checkName("account", name));
  try {
    return keptAccount.parse(JSON.parse(readFileSync(file, "utf8"))).storageUrl;
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") {
      throw new UsageError(`no server of this machine has an account "${name}" in ${dataFolder}`, {
        hint: 'see "holdfast account list"; HOLDFAST_DATA names another data folder',
        cause,
      });
    }
    if (errnoOf(cause) === "EACCES") {
      throw new UsageError(`you may not read ${file}`, { hint: "run this as root or as the server's user", cause });
    }
    throw new DamagedError(`${file} does not say where the repository is`, { cause });
  }
}

export async function recordAccount(database: Database, account: Omit<Account, "id">): Promise<Account> {
  const { insertId } = await database
    .insertInto("accounts")
    .values({
      name: account.name,
      storage_url: account.storageUrl,
      key_mode: account.keyMode,
      soft_quota_bytes: account.quota.softBytes ?? null,
      hard_quota_bytes: account.quota.hardBytes ?? null,
      created_ms: account.createdMs,
    })
    .executeTakeFirstOrThrow();
  return { ...account, id: Number(insertId) };
}

export async function changeQuota(database: Database, account: Account, quota: Partial<Quota>): Promise<void> {
  checkQuota(quota);
  await database
    .updateTable("accounts")
    .set({ soft_quota_bytes: quota.softBytes ?? null, hard_quota_bytes: quota.hardBytes ?? null })
    .where("id", "=", account.id)
    .execute();
}

/** Opens an account's repository with the key ring that the server keeps. The caller closes its storage. */
export async function openAccountRepository(
  dataFolder: string,
  account: Pick<Account, "name" | "storageUrl">,
): Promise<Repository> {
  const ring = readKeyRing(dataFolder, account.name);
  const storage = await openStorage(account.storageUrl);
  try {
    return await openRepository(storage, { ring });
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** Throws `DamagedError` where it is not there, or not whole. */
export function readKeyRing(dataFolder: string, account: string): KeyRing {
  const file = dataFile.keyRing(dataFolder, account);
  try {
    return decodeKeyRing(readFileSync(file), `the key ring ${file}`).ring;
  } catch (error) {
    if (errnoOf(error) === undefined || error instanceof DamagedError) throw error;
    throw new DamagedError(`the key ring of the account "${account}" cannot be read: ${messageOf(error)}`, {
      hint: 'bring it back with "holdfast server adopt" and the recovery key',
      cause: error,
    });
  }
}

export interface DiscSpace {
  /** Equal for what lies on one disc. */
  readonly disc: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** The disc that a repository in a local folder lies on; undefined for storage elsewhere, which does not tell. */
export function discSpace({ storageUrl }: Pick<Account, "storageUrl">): DiscSpace | undefined {
  const place = parseStorageUrl(storageUrl);
  if (place.kind !== "local") return undefined;
  const { bsize, blocks, bavail, bfree } = statfsSync(place.path);
  // What is kept for root counts as taken, as df counts it.
  const totalBytes = (blocks - bfree + bavail) * bsize;
  return { disc: String(statSync(place.path).dev), totalBytes, freeBytes: bavail * bsize };
}
