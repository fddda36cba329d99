import { existsSync, renameSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Kysely } from "kysely";
import { messageOf, NewerFormatError } from "../../errors.ts";
import { nodeSqliteDialect } from "./dialect.ts";
import { DATABASE_VERSION, migrate, versionOf } from "./migrations.ts";
import type { Schema } from "./schema.ts";

export type Database = Kysely<Schema>;

export interface OpenedDatabase {
  readonly database: Database;
  /** There was none, or none that could be read: what it should hold is to be made anew from the repositories. */
  readonly isNew: boolean;
  /** Where the damaged one lies now, and what was wrong with it. */
  readonly damaged: { readonly file: string; readonly problem: string } | undefined;
}

/**
 * Opens the server's database, makes it where there is none, and brings it up to date. A damaged one is set aside under
 * another name, never deleted. Throws `NewerFormatError`.
 */
export function openDatabase(file: string, nowMs: number): OpenedDatabase {
  const existed = existsSync(file);
  const problem = existed ? findDamage(file) : undefined;
  let damaged: OpenedDatabase["damaged"];
  if (problem !== undefined) {
    const aside = `${file}.damaged-${new Date(nowMs).toISOString().replaceAll(":", "")}`;
    for (const ending of ["", "-wal", "-shm"]) if (existsSync(file + ending)) renameSync(file + ending, aside + ending);
    damaged = { file: aside, problem };
  }
  return { database: openBesideServer(file), isNew: !existed || damaged !== undefined, damaged };
}

/**
 * Opens the database for a process beside the server, which checked it when it started: to check it again takes the longer the
 * more it holds, and to set it aside would take it away from the server. Throws `NewerFormatError`.
 */
export function openBesideServer(file: string): Database {
  const sqlite = connect(file);
  if (versionOf(sqlite) > DATABASE_VERSION) {
    sqlite.close();
    throw new NewerFormatError(`the database ${file} was written by a newer Holdfast`, {
      hint: "run the server with that version or a later one",
    });
  }
  migrate(sqlite);
  return new Kysely<Schema>({ dialect: nodeSqliteDialect(sqlite) });
}

/** A database in memory, for tests. */
export function openMemoryDatabase(): Database {
  const sqlite = new DatabaseSync(":memory:");
  migrate(sqlite);
  return new Kysely<Schema>({ dialect: nodeSqliteDialect(sqlite) });
}

function connect(file: string): DatabaseSync {
  const sqlite = new DatabaseSync(file, { timeout: 30_000 });
  sqlite.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  return sqlite;
}

/** What is wrong with a database file; undefined where it is sound. */
function findDamage(file: string): string | undefined {
  let sqlite: DatabaseSync | undefined;
  try {
    sqlite = connect(file);
    const result = sqlite.prepare("PRAGMA quick_check(1)").get()?.quick_check;
    return result === "ok" ? undefined : String(result);
  } catch (error) {
    // Busy or unreadable is no damage: to set it aside then would lose it.
    if (isDamage(error)) return messageOf(error);
    throw error;
  } finally {
    sqlite?.close();
  }
}

/** SQLITE_CORRUPT and SQLITE_NOTADB, https://sqlite.org/rescode.html */
function isDamage(error: unknown): boolean {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === "number" && [11, 26].includes(code & 0xff);
}
