/** A server's state on a real disc, with hosts that save real folders, for tests. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { saveSource } from "../../../test/support/library-repository.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import type { Cleanup } from "../../../test/support/at-end.ts";
import { generateSigningKey, type SigningKey } from "../../crypto/signing.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import { readSnapshot } from "../../repository/snapshots.ts";
import { openLocalSource } from "../../source/local/local-source.ts";
import { createAccount, openAccountRepository, type CreatedAccount, type NewAccount } from "../accounts.ts";
import { sshKeyOf } from "../authorized-keys.ts";
import { noteSnapshot } from "../catalogue.ts";
import { dataFile } from "../data-folder.ts";
import { openDatabase, type Database } from "../database/open.ts";
import { addHost, offerKeys, type NewHost } from "../hosts.ts";
import { DEFAULT_POLICY, savePolicy, type PolicySettings } from "../policies.ts";
import { beginRun, endRun } from "../runs.ts";

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const START_MS = Date.parse("2026-11-01T00:00:00Z");

export interface TestFleet {
  readonly folder: string;
  readonly database: Database;
  readonly created: CreatedAccount;
}

/** A data folder with one account, `default`, and the default policy. */
export async function testFleet(t: Cleanup, account: Partial<NewAccount> = {}): Promise<TestFleet> {
  const folder = path.join(temporaryFolder(t), "data");
  mkdirSync(folder);
  const { database } = openDatabase(dataFile.database(folder), START_MS);
  const wanted = { name: "default", storageUrl: undefined, keyMode: "server", quota: {}, ...account } as const;
  const created = await createAccount(database, folder, wanted, new Date(START_MS));
  await savePolicy(database, "default", DEFAULT_POLICY);
  return { folder, database, created };
}

const signingKeys = new Map<string, SigningKey>();

/** The same for each name, so that a host can come back. */
export function signingKeyOf(host: string): SigningKey {
  const key = signingKeys.get(host) ?? generateSigningKey();
  signingKeys.set(host, key);
  return key;
}

export function keysOf(host: string): { signingKey: string; sshKey: string } {
  const { publicKey } = signingKeyOf(host);
  return { signingKey: publicKey.toString("base64"), sshKey: sshKeyOf(publicKey) };
}

export async function enrolledHost(
  { database }: TestFleet,
  name: string,
  settings: Partial<NewHost> = {},
): Promise<void> {
  const wanted = { name, account: "default", policy: "default", keyMode: "full", quota: {}, ...settings } as const;
  await addHost(database, wanted, START_MS);
  await offerKeys(database, name, keysOf(name));
}

export async function setPolicy(
  { database }: TestFleet,
  name: string,
  settings: Partial<PolicySettings>,
): Promise<void> {
  await savePolicy(database, name, { ...DEFAULT_POLICY, ...settings });
}

export interface TestBackup {
  readonly host: string;
  readonly atMs: number;
  /** Names and contents. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
  readonly suddenGrowth?: boolean;
}

/** A backup of a host as the server records it. Gives the snapshot's id. */
export async function backUp(
  t: Cleanup,
  fleet: TestFleet,
  { host, atMs, files, suddenGrowth }: TestBackup,
): Promise<string> {
  const { folder, database, created } = fleet;
  const top = path.join(temporaryFolder(t), "files");
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(top, name)), { recursive: true });
    writeFileSync(path.join(top, name), content);
  }
  const hostRow = await database.selectFrom("hosts").select("id").where("name", "=", host).executeTakeFirstOrThrow();
  const runId = await beginRun(database, hostRow.id, atMs);
  const repository = await openAccountRepository(folder, created.account);
  const source = openLocalSource({ paths: [rawPathFromText(top)], onProblem: fail });
  try {
    const { snapshotId } = await saveSource(repository, source, {
      paths: [rawPathFromText("/files")],
      host,
      signingKey: signingKeyOf(host),
      startedMs: atMs,
    });
    const record = await readSnapshot(repository, snapshotId);
    await noteSnapshot(database, created.account.id, record);
    const { files: count, sizeBytes, addedBytes, storedBytes } = record.record.open;
    const sums = { files: count, sizeBytes, addedBytes, storedBytes, suddenGrowth: suddenGrowth === true };
    await endRun(database, runId, { state: "succeeded", snapshot: snapshotId, ...sums }, atMs + 1000);
    return snapshotId;
  } finally {
    await source.close();
    await repository.storage.close();
  }
}

function fail({ error }: { readonly error: unknown }): never {
  throw error;
}
