/** Steps from each version of the database to the next. A step that was released is never changed: add another. */
import type { DatabaseSync } from "node:sqlite";

/** Exported for tests. */
export const STEPS: readonly string[] = [
  `
  CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    storage_url TEXT NOT NULL UNIQUE,
    key_mode TEXT NOT NULL CHECK (key_mode IN ('server', 'owner')),
    soft_quota_bytes INTEGER,
    hard_quota_bytes INTEGER,
    created_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE policies (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL
  ) STRICT;
  CREATE TABLE hosts (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    policy_id INTEGER NOT NULL REFERENCES policies (id),
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('new', 'pending-approval', 'active', 'suspended')),
    key_mode TEXT NOT NULL CHECK (key_mode IN ('full', 'write-only')),
    signing_key TEXT,
    ssh_key TEXT,
    offered_signing_key TEXT,
    offered_ssh_key TEXT,
    soft_quota_bytes INTEGER,
    hard_quota_bytes INTEGER,
    used_bytes INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE tokens (
    host_id INTEGER PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    ssh_key TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_id INTEGER NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'incomplete', 'failed', 'refused')),
    snapshot TEXT,
    files INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    added_bytes INTEGER NOT NULL DEFAULT 0,
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    sudden_growth INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0,
    error TEXT
  ) STRICT;
  CREATE INDEX runs_of_host ON runs (host_id, started_ms);
  CREATE INDEX runs_by_snapshot ON runs (snapshot) WHERE snapshot IS NOT NULL;
  CREATE INDEX runs_under_way ON runs (state) WHERE state = 'running';
  CREATE TABLE run_log (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    level TEXT NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    message TEXT NOT NULL
  ) STRICT;
  CREATE INDEX log_of_run ON run_log (run_id, id);
  CREATE TABLE maintenance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    host TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('retention', 'check', 'drill')),
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed')),
    detail TEXT NOT NULL DEFAULT '{}',
    error TEXT
  ) STRICT;
  CREATE INDEX maintenance_of_account ON maintenance (account_id, kind, host, started_ms);
  CREATE TABLE snapshots (
    id TEXT NOT NULL,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    files INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    added_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    verified_ms INTEGER,
    signer TEXT NOT NULL,
    PRIMARY KEY (account_id, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX snapshots_of_host ON snapshots (account_id, host, time_ms, complete);
  CREATE INDEX snapshots_by_host_and_time ON snapshots (host, time_ms);
  CREATE INDEX snapshots_by_time ON snapshots (time_ms);
  CREATE TABLE origins (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    host TEXT NOT NULL,
    PRIMARY KEY (account_id, origin)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE packs (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    pack TEXT NOT NULL,
    host TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    frames BLOB NOT NULL,
    PRIMARY KEY (account_id, pack)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX packs_of_host ON packs (account_id, host);
  CREATE TABLE indexes (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    object TEXT NOT NULL,
    host TEXT NOT NULL,
    PRIMARY KEY (account_id, object)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX indexes_of_host ON indexes (account_id, host);
  `,
  `
  CREATE TABLE pulls (
    host_id INTEGER PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    login TEXT NOT NULL,
    port INTEGER NOT NULL,
    identity_file TEXT,
    host_keys TEXT NOT NULL,
    paths_from TEXT NOT NULL CHECK (paths_from IN ('policy', 'host')),
    form TEXT CHECK (form IN ('full', 'plain'))
  ) STRICT;
  `,
  // Runs may wait. SQLite changes no CHECK, so the table and what refers to it are made anew.
  `
  CREATE TABLE new_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_id INTEGER NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    wanted_ms INTEGER,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'succeeded', 'incomplete', 'failed', 'refused')),
    snapshot TEXT,
    files INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    added_bytes INTEGER NOT NULL DEFAULT 0,
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    sudden_growth INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0,
    error TEXT
  ) STRICT;
  INSERT INTO new_runs
    SELECT id, host_id, NULL, started_ms, ended_ms, state, snapshot, files, size_bytes, added_bytes, stored_bytes,
      sudden_growth, accepted, error FROM runs;
  CREATE TEMP TABLE old_log AS SELECT * FROM run_log;
  DROP TABLE run_log;
  DROP TABLE runs;
  ALTER TABLE new_runs RENAME TO runs;
  CREATE INDEX runs_of_host ON runs (host_id, started_ms);
  CREATE INDEX runs_by_snapshot ON runs (snapshot) WHERE snapshot IS NOT NULL;
  CREATE INDEX runs_under_way ON runs (state) WHERE state IN ('waiting', 'running');
  CREATE TABLE run_log (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    level TEXT NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    message TEXT NOT NULL
  ) STRICT;
  CREATE INDEX log_of_run ON run_log (run_id, id);
  INSERT INTO run_log SELECT * FROM old_log;
  DROP TABLE old_log;
  ALTER TABLE hosts ADD COLUMN asked_ms INTEGER;
  CREATE TABLE earlier_keys (
    host_id INTEGER NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    signing_key TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (host_id, signing_key)
  ) STRICT, WITHOUT ROWID;
  `,
  "ALTER TABLE tokens ADD COLUMN used_by TEXT",
];

/** The version of a database to which all steps were applied. */
export const DATABASE_VERSION = STEPS.length;

/** Brings an open database up to date, each step whole or not at all. Gives the version that it had. */
export function migrate(database: DatabaseSync, steps: readonly string[] = STEPS): number {
  const before = versionOf(database);
  for (let version = before; version < steps.length; version++) {
    database.exec("BEGIN IMMEDIATE");
    try {
      database.exec(steps[version]);
      database.exec(`PRAGMA user_version = ${version + 1}`);
      database.exec("COMMIT");
    } catch (error) {
      database.exec("ROLLBACK");
      throw error;
    }
  }
  return before;
}

export function versionOf(database: DatabaseSync): number {
  return Number(database.prepare("PRAGMA user_version").get()!.user_version);
}
