/** What administrators do with hosts that the server pulls from. */
import { UsageError } from "../../errors.ts";
import type { Database } from "../../fleet/database/open.ts";
import { addHost, findHost, offerKeys, removeHost, type Host, type NewHost } from "../../fleet/hosts.ts";
import { parseSshKey } from "../../fleet/authorized-keys.ts";
import { DEFAULT_POLICY, DEFAULT_POLICY_NAME, findPolicy, listPolicies, savePolicy } from "../../fleet/policies.ts";
import { savePull, type PullSettings } from "../../fleet/pulls.ts";
import { installationOf, type PullInstallation } from "./installation.ts";
import { keepPullKeys, keepSigningKey } from "./pull-files.ts";
import { pathsOfPolicy } from "./pull-paths.ts";
import { parseLogin, seeHostKeys } from "./pull-ssh.ts";
import { testHost, type PullTest } from "./test-host.ts";

interface Administration {
  readonly database: Database;
  readonly dataFolder: string;
}

export interface WantedPull {
  readonly login: string;
  readonly port: number;
  readonly identityFile?: string | undefined;
  readonly pathsFrom: PullSettings["pathsFrom"];
}

/**
 * How a new host is to be reached: sees and pins its key. Throws `UsageError` for a login or an identity that is none,
 * `ConnectionError` where the host is not to be reached.
 */
export async function preparePull(
  { dataFolder }: Administration,
  host: string,
  wanted: WantedPull,
): Promise<PullSettings> {
  const login = parseLogin(wanted.login);
  keepPullKeys(dataFolder, wanted.identityFile);
  const hostKeys = await seeHostKeys({ dataFolder, host, pull: { login, port: wanted.port } });
  return { ...wanted, login, hostKeys };
}

/** The policy that pulled hosts follow where nobody names another. */
export const PULL_POLICY_NAME = "pull";

/** Makes that policy where it is not there: every four hours. */
export async function keepPullPolicy({ database }: Pick<Administration, "database">): Promise<string> {
  const known = (await listPolicies(database)).some(({ name }) => name === PULL_POLICY_NAME);
  if (!known) await savePolicy(database, PULL_POLICY_NAME, { ...DEFAULT_POLICY, schedule: "every 4h" });
  return PULL_POLICY_NAME;
}

export interface PullChange {
  readonly login?: string | undefined;
  readonly port?: number | undefined;
  readonly identityFile?: string | undefined;
  readonly pathsFrom?: PullSettings["pathsFrom"] | undefined;
  /** Pins the key that the host shows now. */
  readonly newHostKey?: boolean | undefined;
}

/** Throws `UsageError` for a host that has an agent. */
export async function changePull(here: Administration, name: string, change: PullChange): Promise<Host> {
  const { id, pull } = await pulledHost(here.database, name);
  const { newHostKey, ...settings } = change;
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  const next: PullSettings = { ...pull, ...given };
  keepPullKeys(here.dataFolder, next.identityFile);
  // What went through the forced command before says nothing of what does now.
  const { form: _form, ...fresh } = { ...next, login: parseLogin(next.login) };
  const hostKeys =
    newHostKey === true ? await seeHostKeys({ dataFolder: here.dataFolder, host: name, pull: fresh }) : fresh.hostKeys;
  await savePull(here.database, id, { ...fresh, hostKeys });
  return findHost(here.database, name);
}

async function pulledHost(database: Database, name: string): Promise<Host & { readonly pull: PullSettings }> {
  const host = await findHost(database, name);
  if (host.pull !== undefined) return { ...host, pull: host.pull };
  throw new UsageError(`the server does not pull from "${name}": its agent saves it`, {
    hint: `"holdfast status" tells how it is`,
  });
}

/** What a person has to put on the host. */
export async function pullInstallation(
  { database, dataFolder }: Administration,
  name: string,
): Promise<PullInstallation> {
  const { pull, policy } = await pulledHost(database, name);
  const keys = keepPullKeys(dataFolder, pull.identityFile);
  return installationOf(pull, keys, pathsOfPolicy(await findPolicy(database, policy)).paths);
}

/** Tries whether the host can be pulled from. What rsync could be asked with is kept for the next pull. */
export async function testPull({ database, dataFolder }: Administration, name: string): Promise<PullTest> {
  const { id, pull, policy } = await pulledHost(database, name);
  const keys = keepPullKeys(dataFolder, pull.identityFile);
  const test = await testHost({ dataFolder, host: name, pull, policy: await findPolicy(database, policy), keys });
  if (test.form !== undefined) {
    await database.updateTable("pulls").set({ form: test.form }).where("host_id", "=", id).execute();
  }
  return test;
}

/** Adds a host that comes by itself, with a stock rsync and this SSH key. The server signs its snapshots. */
export async function addPushingHost(
  { database, dataFolder }: Administration,
  wanted: Omit<NewHost, "policy" | "pull"> & { readonly policy?: string | undefined; readonly sshKey: string },
  nowMs: number,
): Promise<Host> {
  const sshKey = parseSshKey(wanted.sshKey);
  const { name } = await addHost(
    database,
    { ...wanted, policy: wanted.policy ?? DEFAULT_POLICY_NAME, pull: undefined },
    nowMs,
  );
  const signingKey = keepSigningKey(dataFolder, name).publicKey.toString("base64");
  try {
    await offerKeys(database, name, { signingKey, sshKey });
  } catch (error) {
    await removeHost(database, name);
    throw error;
  }
  return findHost(database, name);
}
