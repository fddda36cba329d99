/** Hosts: machines that are backed up, and the keys they are known by. */
import { HoldfastError, UsageError } from "../errors.ts";
import type { Quota } from "../retention/space.ts";
import { checkQuota, findAccount, quotaOf, type Account } from "./accounts.ts";
import type { Database } from "./database/open.ts";
import type { HostTable } from "./database/schema.ts";
import { checkName } from "./names.ts";
import { findPolicy } from "./policies.ts";
import { pullOf, savePull, type PullSettings } from "./pulls.ts";

export interface Host {
  readonly id: number;
  readonly name: string;
  readonly accountId: number;
  readonly account: string;
  readonly policy: string;
  /** `new`: no key yet. `pending-approval`: it offered its first keys by itself. */
  readonly state: HostTable["state"];
  readonly keyMode: HostTable["key_mode"];
  readonly keys: HostKeys | undefined;
  /** Keys that somebody offered under this name; they count for nothing until an administrator approves them. */
  readonly offeredKeys: HostKeys | undefined;
  /** How the server pulls from it; undefined where an agent brings its snapshots. */
  readonly pull: PullSettings | undefined;
  readonly quota: Partial<Quota>;
  readonly usedBytes: number;
  readonly createdMs: number;
  /** When its agent last asked whether it shall save; undefined where it never did. */
  readonly askedMs: number | undefined;
}

export interface HostKeys {
  /** Ed25519 public key that signs its snapshots, base64 of 32 bytes. */
  readonly signingKey: string;
  /** `ssh-ed25519 AAAA…`, without a comment. */
  readonly sshKey: string;
}

function hostQuery(database: Database) {
  return database
    .selectFrom("hosts")
    .innerJoin("accounts", "accounts.id", "hosts.account_id")
    .innerJoin("policies", "policies.id", "hosts.policy_id")
    .leftJoin("pulls", "pulls.host_id", "hosts.id")
    .selectAll("hosts")
    .select(["pulls.login", "pulls.port", "pulls.identity_file", "pulls.host_keys", "pulls.paths_from", "pulls.form"])
    .select(["accounts.name as account", "policies.name as policy"]);
}

type HostRow = Awaited<ReturnType<ReturnType<typeof hostQuery>["execute"]>>[number];

function hostOf(row: HostRow): Host {
  const { signing_key: signingKey, ssh_key: sshKey } = row;
  const { offered_signing_key: offeredSigningKey, offered_ssh_key: offeredSshKey } = row;
  return {
    id: row.id,
    name: row.name,
    accountId: row.account_id,
    account: row.account,
    policy: row.policy,
    state: row.state,
    keyMode: row.key_mode,
    keys: signingKey === null || sshKey === null ? undefined : { signingKey, sshKey },
    offeredKeys:
      offeredSigningKey === null || offeredSshKey === null
        ? undefined
        : { signingKey: offeredSigningKey, sshKey: offeredSshKey },
    pull: pullOf(row),
    quota: quotaOf(row),
    usedBytes: row.used_bytes,
    createdMs: row.created_ms,
    askedMs: row.asked_ms ?? undefined,
  };
}

export async function listHosts(database: Database): Promise<Host[]> {
  return (await hostQuery(database).orderBy("hosts.name").execute()).map(hostOf);
}

/** Throws `UsageError` where there is none of this name. */
export async function findHost(database: Database, name: string): Promise<Host> {
  const row = await hostQuery(database).where("hosts.name", "=", name).executeTakeFirst();
  if (row !== undefined) return hostOf(row);
  throw new UsageError(`there is no host "${name}"`, { hint: 'see "holdfast host list"' });
}

export interface NewHost {
  readonly name: string;
  readonly account: string;
  readonly policy: string;
  /** Undefined: `full`, where the server has the key for that. */
  readonly keyMode?: Host["keyMode"] | undefined;
  readonly quota: Partial<Quota>;
  /** For a host that the server pulls from: it counts at once. */
  readonly pull?: PullSettings | undefined;
}

export async function addHost(database: Database, wanted: NewHost, nowMs: number): Promise<Host> {
  checkName("host", wanted.name);
  checkQuota(wanted.quota);
  const account = await findAccount(database, wanted.account);
  if (wanted.keyMode === "full" && wanted.pull === undefined) requireReadable(account, wanted.name);
  const policy = await findPolicy(database, wanted.policy);
  const taken = await database.selectFrom("hosts").select("id").where("name", "=", wanted.name).executeTakeFirst();
  if (taken !== undefined) {
    throw new UsageError(`there is a host "${wanted.name}" already`, {
      hint:
        wanted.pull === undefined
          ? `to enrol it anew, let it run "holdfast agent setup" and then "holdfast host approve ${wanted.name}"`
          : `"holdfast host edit ${wanted.name}" changes it, "holdfast host show ${wanted.name}" tells what to do there`,
    });
  }
  const { pull } = wanted;
  await database.transaction().execute(async (transaction) => {
    const { insertId } = await transaction
      .insertInto("hosts")
      .values({
        name: wanted.name,
        account_id: account.id,
        policy_id: policy.id,
        state: pull === undefined ? "new" : "active",
        key_mode: wanted.keyMode ?? (account.keyMode === "owner" ? "write-only" : "full"),
        soft_quota_bytes: wanted.quota.softBytes ?? null,
        hard_quota_bytes: wanted.quota.hardBytes ?? null,
        created_ms: nowMs,
      })
      .executeTakeFirstOrThrow();
    if (pull !== undefined) await savePull(transaction, Number(insertId), pull);
  });
  return findHost(database, wanted.name);
}

function requireReadable({ name, keyMode }: Account, host: string): void {
  if (keyMode !== "owner") return;
  throw new UsageError(`the server does not have the key with which "${host}" could read`, {
    hint: `hosts of the account "${name}" are write-only; its owner restores with the recovery key`,
  });
}

export interface HostChange {
  readonly policy?: string | undefined;
  readonly keyMode?: Host["keyMode"] | undefined;
  readonly quota?: Partial<Quota> | undefined;
  /** True: it may neither store nor read until this is taken back. */
  readonly suspended?: boolean | undefined;
}

export async function editHost(database: Database, name: string, change: HostChange): Promise<Host> {
  const host = await findHost(database, name);
  const { quota } = change;
  if (quota !== undefined) checkQuota(quota);
  if (change.keyMode === "full") requireReadable(await findAccount(database, host.account), name);
  const policy = change.policy === undefined ? undefined : await findPolicy(database, change.policy);
  const state = change.suspended === undefined ? undefined : stateWhen(host, change.suspended);
  const set = {
    ...(policy !== undefined && { policy_id: policy.id }),
    ...(change.keyMode !== undefined && { key_mode: change.keyMode }),
    ...(quota !== undefined && {
      soft_quota_bytes: quota.softBytes ?? null,
      hard_quota_bytes: quota.hardBytes ?? null,
    }),
    ...(state !== undefined && { state }),
  };
  if (Object.keys(set).length === 0) throw new UsageError("nothing is named that should change");
  await database.updateTable("hosts").set(set).where("id", "=", host.id).execute();
  return findHost(database, name);
}

function stateWhen(host: Host, suspended: boolean): Host["state"] {
  if (suspended) return "suspended";
  if (host.state !== "suspended") return host.state;
  return host.keys === undefined && host.pull === undefined ? "new" : "active";
}

/** Forgets a host and its runs. Its snapshots stay where they are. */
export async function removeHost(database: Database, name: string): Promise<void> {
  const { id } = await findHost(database, name);
  await database.deleteFrom("hosts").where("id", "=", id).execute();
}

/** What came of offered keys: they count, or wait for an administrator. */
export type EnrolmentState = "active" | "pending-approval";

/**
 * Takes the keys that a host offers. The first keys of a host that an administrator added, or that comes with the
 * administrator's own login, count at once; others wait for approval, and until then the old ones stay good.
 */
export async function offerKeys(database: Database, name: string, keys: HostKeys): Promise<EnrolmentState> {
  const host = await findHost(database, name);
  if (host.pull !== undefined) {
    throw new UsageError(`the server pulls from the host "${name}": it needs no agent`, {
      hint: `to save it by an agent from now on, remove it with "holdfast host remove ${name}" and add it again`,
    });
  }
  if (host.state === "suspended") {
    throw new HoldfastError(`the host "${name}" is suspended`, {
      hint: "an administrator of the server can change that",
    });
  }
  if (host.keys?.signingKey === keys.signingKey && host.keys.sshKey === keys.sshKey) return "active";
  const other = await database
    .selectFrom("hosts")
    .select("name")
    .where("ssh_key", "=", keys.sshKey)
    .where("id", "!=", host.id)
    .executeTakeFirst();
  // sshd takes the first line with a key: the same key under two names would make one host pass for the other.
  if (other !== undefined) throw new UsageError(`this SSH key is that of the host "${other.name}" already`);
  if (host.state === "new") {
    await setKeys(database, host, keys);
    return "active";
  }
  await database
    .updateTable("hosts")
    .set({ offered_signing_key: keys.signingKey, offered_ssh_key: keys.sshKey })
    .where("id", "=", host.id)
    .execute();
  return "pending-approval";
}

/** Makes the offered keys the host's own. */
export async function approveHost(database: Database, name: string, nowMs: number): Promise<Host> {
  const host = await findHost(database, name);
  if (host.pull !== undefined && host.state === "pending-approval") {
    await database.updateTable("hosts").set({ state: "active" }).where("id", "=", host.id).execute();
  } else if (host.offeredKeys !== undefined) {
    if (host.keys !== undefined) await noteEarlierKey(database, host.id, host.keys.signingKey, nowMs);
    await setKeys(database, host, host.offeredKeys);
  } else if (host.state === "pending-approval" && host.keys !== undefined) await setKeys(database, host, host.keys);
  else throw new UsageError(`nothing of the host "${name}" waits for approval`);
  return findHost(database, name);
}

export interface EarlierKey {
  /** Ed25519, base64. */
  readonly signingKey: string;
  /** When another took its place. */
  readonly untilMs: number;
}

/** A key that counts no more for what is new. What it has signed stays the host's own. */
export async function noteEarlierKey(
  database: Database,
  hostId: number,
  signingKey: string,
  untilMs: number,
): Promise<void> {
  await database
    .insertInto("earlier_keys")
    .values({ host_id: hostId, signing_key: signingKey, until_ms: untilMs })
    .onConflict((conflict) => conflict.doUpdateSet({ until_ms: untilMs }))
    .execute();
}

/** Signing keys that were a host's own before, the oldest first. */
export async function earlierKeysOf(database: Database, hostId: number): Promise<EarlierKey[]> {
  const rows = await database
    .selectFrom("earlier_keys")
    .select(["signing_key", "until_ms"])
    .where("host_id", "=", hostId)
    .orderBy("until_ms")
    .execute();
  return rows.map(({ signing_key: signingKey, until_ms: untilMs }) => ({ signingKey, untilMs }));
}

/** By whose keys the snapshots are signed that stand under a host's name. */
export interface Signatures {
  readonly byPresentKey: number;
  readonly byEarlierKeys: number;
  /** By a key that this server never knew as the host's: made up, or by a host of that name that was removed. */
  readonly byUnknownKeys: number;
}

/** `serverKey`: with which the server signs what it saves for this host, base64. */
export async function signaturesOf(database: Database, host: Host, serverKey: string | undefined): Promise<Signatures> {
  const earlier = new Set((await earlierKeysOf(database, host.id)).map(({ signingKey }) => signingKey));
  const rows = await database
    .selectFrom("snapshots")
    .select(["signer", (count) => count.fn.countAll<number>().as("snapshots")])
    .where("account_id", "=", host.accountId)
    .where("host", "=", host.name)
    .groupBy("signer")
    .execute();
  const sum = (counts: (signer: string) => boolean): number =>
    rows.filter(({ signer }) => counts(signer)).reduce((total, { snapshots }) => total + snapshots, 0);
  const isPresent = (signer: string): boolean => signer === host.keys?.signingKey || signer === serverKey;
  return {
    byPresentKey: sum(isPresent),
    byEarlierKeys: sum((signer) => !isPresent(signer) && earlier.has(signer)),
    byUnknownKeys: sum((signer) => !isPresent(signer) && !earlier.has(signer)),
  };
}

async function setKeys(database: Database, host: Host, keys: HostKeys): Promise<void> {
  await database
    .updateTable("hosts")
    .set({
      state: "active",
      signing_key: keys.signingKey,
      ssh_key: keys.sshKey,
      offered_signing_key: null,
      offered_ssh_key: null,
    })
    .where("id", "=", host.id)
    .execute();
}
