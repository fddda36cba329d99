/** The server's tables. Times are ms since 1970, sizes bytes, truth values 0 and 1, ids of snapshots and packs hex. */
import type { Generated } from "kysely";

export interface Schema {
  accounts: AccountTable;
  policies: PolicyTable;
  hosts: HostTable;
  tokens: TokenTable;
  pulls: PullTable;
  earlier_keys: EarlierKeyTable;
  runs: RunTable;
  run_log: RunLogTable;
  maintenance: MaintenanceTable;
  snapshots: SnapshotTable;
  origins: OriginTable;
  packs: PackTable;
  indexes: IndexTable;
}

export interface AccountTable {
  id: Generated<number>;
  name: string;
  /** As `openStorage` takes it. */
  storage_url: string;
  /** `server`: its key ring opens what is stored. `owner`: it can only write. */
  key_mode: "server" | "owner";
  soft_quota_bytes: number | null;
  hard_quota_bytes: number | null;
  created_ms: number;
}

export interface PolicyTable {
  id: Generated<number>;
  name: string;
  /** JSON of `PolicySettings`. */
  settings: string;
}

export interface HostTable {
  id: Generated<number>;
  account_id: number;
  policy_id: number;
  name: string;
  state: "new" | "pending-approval" | "active" | "suspended";
  key_mode: "full" | "write-only";
  /** Ed25519, base64. */
  signing_key: string | null;
  /** As a line of authorized_keys begins: `ssh-ed25519 AAAA…`. */
  ssh_key: string | null;
  /** Keys that somebody offered under this name, until an administrator approves them. */
  offered_signing_key: string | null;
  offered_ssh_key: string | null;
  soft_quota_bytes: number | null;
  hard_quota_bytes: number | null;
  /** What its snapshots take in storage, as last counted. */
  used_bytes: Generated<number>;
  created_ms: number;
  /** When its agent last asked whether it shall save. */
  asked_ms: Generated<number | null>;
}

/** Signing keys that were a host's own before: what they signed stays good. */
export interface EarlierKeyTable {
  host_id: number;
  /** Ed25519, base64. */
  signing_key: string;
  until_ms: number;
}

/** One-time keys with which a host may enrol. */
export interface TokenTable {
  host_id: number;
  ssh_key: string;
  expires_ms: number;
  /** SSH key of the host that used it and waits for approval: it holds for that one alone. */
  used_by: string | null;
}

/** How the server reaches a host that it pulls from. */
export interface PullTable {
  host_id: number;
  /** As ssh takes it: `root@web1`. */
  login: string;
  port: number;
  /** Private key on the server; its own where there is none. */
  identity_file: string | null;
  /** Public keys that the host's sshd may show, a line each. */
  host_keys: string;
  paths_from: "policy" | "host";
  /** What of rsync's options went through last. */
  form: "full" | "plain" | null;
}

export interface RunTable {
  id: Generated<number>;
  host_id: number;
  /** When a person asked for it; null for those that came by themselves. */
  wanted_ms: Generated<number | null>;
  /** Of one that waits: since when. */
  started_ms: number;
  ended_ms: number | null;
  /**
   * `waiting`: a person wants it, and the host has not come yet. `incomplete`: a snapshot, but something could not be
   * read. `refused`: not let in, `error` says why.
   */
  state: "waiting" | "running" | "succeeded" | "incomplete" | "failed" | "refused";
  snapshot: string | null;
  files: Generated<number>;
  size_bytes: Generated<number>;
  added_bytes: Generated<number>;
  stored_bytes: Generated<number>;
  sudden_growth: Generated<number>;
  /** A person found the sudden growth good. */
  accepted: Generated<number>;
  error: string | null;
}

export interface RunLogTable {
  id: Generated<number>;
  run_id: number;
  at_ms: number;
  level: "info" | "warning" | "error";
  message: string;
}

export interface MaintenanceTable {
  id: Generated<number>;
  account_id: number;
  /** Of drills. */
  host: string | null;
  kind: "retention" | "check" | "drill";
  started_ms: number;
  ended_ms: number | null;
  state: "running" | "succeeded" | "failed";
  /** JSON, by kind. */
  detail: string;
  error: string | null;
}

/** What stands in the repositories. Can be made anew from them. */
export interface SnapshotTable {
  id: string;
  account_id: number;
  host: string;
  time_ms: number;
  group_id: string;
  files: number;
  size_bytes: number;
  added_bytes: number;
  stored_bytes: number;
  complete: number;
  verified_ms: number | null;
  /** Ed25519 public key of who signed it, base64. */
  signer: string;
}

/** Whose frames an origin's are; hex. */
export interface OriginTable {
  account_id: number;
  origin: string;
  host: string;
}

/** Who brought a pack. */
export interface PackTable {
  account_id: number;
  pack: string;
  host: string;
  size_bytes: number;
  /** A frame set: those in the pack. */
  frames: Uint8Array;
}

/** Who brought an index. */
export interface IndexTable {
  account_id: number;
  object: string;
  host: string;
}
