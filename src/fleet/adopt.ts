/** A server brought back from storage: accounts, policies and hosts out of what the repositories hold. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { z } from "zod";
import { DamagedError, messageOf, UsageError } from "../errors.ts";
import { openRepository, type Unlock } from "../repository/repository.ts";
import { openStorage } from "../storage/open.ts";
import {
  DEFAULT_ACCOUNT_NAME,
  keepKeyRing,
  listAccounts,
  readKeyRing,
  recordAccount,
  refuseKnown,
  refuseToReplaceKeys,
  type Account,
} from "./accounts.ts";
import { syncCatalogue } from "./catalogue.ts";
import { dataFile } from "./data-folder.ts";
import type { Database } from "./database/open.ts";
import { noteEarlierKey } from "./hosts.ts";
import { checkName } from "./names.ts";
import { DEFAULT_POLICY, DEFAULT_POLICY_NAME, savePolicy } from "./policies.ts";
import { savePull, type PullSettings } from "./pulls.ts";
import { findSettings, type FoundSettings, type SavedSettings } from "./saved-settings.ts";

export interface AdoptionRequest {
  readonly storageUrl: string;
  readonly unlock: Unlock;
  /** Name of the account, where the repository does not say it or another is wanted. */
  readonly name?: string | undefined;
}

export interface Adoption {
  readonly account: Account;
  /** Where the settings come from; `none`: the repository was never a server's. */
  readonly settings: FoundSettings["sealedBy"] | "none";
  readonly hosts: readonly string[];
  /** Hosts whose keys an administrator must approve, because any writer could have stored these settings. */
  readonly hostsToApprove: readonly string[];
  readonly snapshots: number;
  readonly damagedSnapshots: readonly string[];
}

/** Makes an account of a repository that is there. */
export async function adoptRepository(
  database: Database,
  dataFolder: string,
  request: AdoptionRequest,
  now: Date,
): Promise<Adoption> {
  const { storageUrl } = request;
  const storage = await openStorage(storageUrl);
  try {
    const repository = await openRepository(storage, request.unlock);
    const { ring } = repository;
    if (ring.writerSecret === undefined) {
      throw new UsageError("with this key nothing can be written", { hint: "use the recovery key" });
    }
    const found = await findSettings(storage, ring);
    const saved = found?.settings.account;
    const name = checkName("account", request.name ?? saved?.name ?? DEFAULT_ACCOUNT_NAME);
    // The key that was used opens everything, but the owner may have wanted the server to be blind.
    const keyMode = ring.privateKey === undefined ? "owner" : (saved?.keyMode ?? "server");
    const kept = { name, storageUrl, keyMode, quota: saved?.quota ?? {}, createdMs: saved?.createdMs ?? now.getTime() };
    await refuseKnown(database, name, storageUrl);
    refuseToReplaceKeys(dataFolder, name, ring.repositoryId);
    keepKeyRing(dataFolder, kept, ring);
    const known = found?.settings.hosts.map((host) => asAdopted(host, found.sealedBy));
    // Together: an account without its hosts would look whole.
    const account = await database.transaction().execute(async (transaction) => {
      const recorded = await recordAccount(transaction, kept);
      await recordSettings(transaction, recorded, found?.settings.policies ?? [], known ?? []);
      return recorded;
    });
    const { added, damaged } = await syncCatalogue(database, account.id, repository);
    const hosts = known ?? (await hostsOfSnapshots(database, account.id, now.getTime()));
    if (known === undefined) await recordSettings(database, account, [], hosts);
    return {
      account,
      settings: found?.sealedBy ?? "none",
      hosts: hosts.map((host) => host.name),
      hostsToApprove: hosts.filter(({ state }) => state === "pending-approval").map((host) => host.name),
      snapshots: added,
      damagedSnapshots: damaged,
    };
  } finally {
    await storage.close();
  }
}

type SavedHost = SavedSettings["hosts"][number];

function asAdopted(host: SavedHost, sealedBy: FoundSettings["sealedBy"]): SavedHost {
  return host.state === "active" && sealedBy === "writer" ? { ...host, state: "pending-approval" } : host;
}

/** A repository without settings: its hosts are known by name, and have to enrol. */
async function hostsOfSnapshots(database: Database, accountId: number, nowMs: number): Promise<SavedHost[]> {
  const rows = await database
    .selectFrom("snapshots")
    .select("host")
    .distinct()
    .where("account_id", "=", accountId)
    .execute();
  return rows.flatMap(({ host }) => {
    try {
      const base = { policy: DEFAULT_POLICY_NAME, state: "new", keyMode: "full", quota: {}, createdMs: nowMs } as const;
      return [{ name: checkName("host", host), ...base }];
    } catch {
      // Its snapshots can still be read by whoever has the key.
      return [];
    }
  });
}

async function recordSettings(
  database: Database,
  account: Account,
  policies: SavedSettings["policies"],
  hosts: readonly SavedHost[],
): Promise<void> {
  await database
    .insertInto("policies")
    .values({ name: DEFAULT_POLICY_NAME, settings: JSON.stringify(DEFAULT_POLICY) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  for (const { name, ...settings } of policies) await savePolicy(database, name, settings);
  const known = await database.selectFrom("policies").select(["id", "name"]).execute();
  const policyId = new Map(known.map((policy) => [policy.name, policy.id]));
  for (const host of hosts) {
    await database
      .insertInto("hosts")
      .values({
        name: host.name,
        account_id: account.id,
        policy_id: policyId.get(host.policy) ?? policyId.get(DEFAULT_POLICY_NAME)!,
        state: host.state,
        key_mode: host.keyMode,
        signing_key: host.keys?.signingKey ?? null,
        ssh_key: host.keys?.sshKey ?? null,
        soft_quota_bytes: host.quota.softBytes ?? null,
        hard_quota_bytes: host.quota.hardBytes ?? null,
        created_ms: host.createdMs,
      })
      // Another account has a host of this name: that one stays.
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    await recordEarlierKeys(database, account, host);
    if (host.pull !== undefined) await recordPull(database, account, host.name, host.pull);
  }
}

async function recordEarlierKeys(database: Database, account: Account, host: SavedHost): Promise<void> {
  const { name, earlierKeys = [] } = host;
  const found = database.selectFrom("hosts").select("id").where("name", "=", name).where("account_id", "=", account.id);
  const row = earlierKeys.length === 0 ? undefined : await found.executeTakeFirst();
  if (row === undefined) return;
  for (const { signingKey, untilMs } of earlierKeys) await noteEarlierKey(database, row.id, signingKey, untilMs);
}

async function recordPull(database: Database, account: Account, host: string, pull: PullSettings): Promise<void> {
  const row = await database
    .selectFrom("hosts")
    .select("id")
    .where("name", "=", host)
    .where("account_id", "=", account.id)
    .executeTakeFirst();
  if (row !== undefined) await savePull(database, row.id, pull);
}

export interface RebuiltAccount {
  readonly name: string;
  readonly adoption: Adoption | undefined;
  readonly problem: string | undefined;
}

/** Brings back the accounts whose key rings lie in the data folder, but which the database does not know. */
export async function rebuildFromDataFolder(
  database: Database,
  dataFolder: string,
  now: Date,
): Promise<RebuiltAccount[]> {
  const rebuilt: RebuiltAccount[] = [];
  const known = new Set((await listAccounts(database)).map(({ name }) => name));
  for (const name of accountFolders(dataFolder)) {
    if (known.has(name)) continue;
    try {
      const { storageUrl } = readAccountFile(dataFolder, name);
      const unlock = { ring: readKeyRing(dataFolder, name) };
      rebuilt.push({
        name,
        adoption: await adoptRepository(database, dataFolder, { storageUrl, unlock, name }, now),
        problem: undefined,
      });
    } catch (error) {
      rebuilt.push({ name, adoption: undefined, problem: messageOf(error) });
    }
  }
  return rebuilt;
}

function accountFolders(dataFolder: string): string[] {
  const folder = dataFile.accounts(dataFolder);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => existsSync(dataFile.keyRing(dataFolder, name)))
    .toSorted();
}

const accountFile = z.object({ storageUrl: z.string() });

function readAccountFile(dataFolder: string, name: string): z.infer<typeof accountFile> {
  const file = dataFile.account(dataFolder, name);
  try {
    return accountFile.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new DamagedError(`${file} does not say where the account's repository is: ${messageOf(cause)}`, {
      hint: 'adopt the repository with "holdfast server adopt REPOSITORY"',
      cause,
    });
  }
}
