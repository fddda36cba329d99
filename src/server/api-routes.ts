/** What the API can do. The command line and the console stand on the same routes. */
import { z } from "zod";
import { UsageError } from "../errors.ts";
import { changeQuota, createAccount, findAccount, listAccounts, type Account } from "../fleet/accounts.ts";
import { latestSnapshotMs, listCatalogue } from "../fleet/catalogue.ts";
import type { Database } from "../fleet/database/open.ts";
import { createToken, enrol } from "../fleet/enrolment.ts";
import { fleetStatus } from "../fleet/health.ts";
import {
  addHost,
  approveHost,
  earlierKeysOf,
  editHost,
  findHost,
  listHosts,
  removeHost,
  signaturesOf,
  type EarlierKey,
  type Host,
  type Signatures,
} from "../fleet/hosts.ts";
import { checkName } from "../fleet/names.ts";
import {
  DEFAULT_POLICY,
  DEFAULT_POLICY_NAME,
  findPolicy,
  listPolicies,
  parsePolicySettings,
  policySettings,
  removePolicy,
  savePolicy,
} from "../fleet/policies.ts";
import { acceptGrowth, findRun, listRuns, readRunLog, takeBackRun, wantRun, type Run } from "../fleet/runs.ts";
import type { Repository } from "../repository/repository.ts";
import {
  addPushingHost,
  changePull,
  keepPullPolicy,
  preparePull,
  pullInstallation,
  testPull,
} from "./pulls/administer.ts";
import { findSigningKey } from "./pulls/pull-files.ts";
import { listMaintenance, planAccountRetention, type MaintenanceJob } from "./maintenance-jobs.ts";

export interface ApiContext {
  readonly database: Database;
  readonly dataFolder: string;
  readonly nowMs: () => number;
  readonly repositoryOf: (account: Account) => Promise<Repository>;
  /** To be called after settings changed, and before that is told. */
  readonly settingsChanged: () => Promise<void>;
  readonly requestMaintenance: (job: MaintenanceJob) => void;
  /** Begins the run of a host that the server pulls from, which waits or is new, at once. Gives its number. */
  readonly startPull: (host: Host) => Promise<number>;
  readonly troubles: () => ReadonlyMap<string, string>;
  /** Public keys of the machine's sshd, for agents to pin; empty where they can't be read. */
  readonly sshHostKeys: () => readonly string[];
  /** The user whom hosts log in as, where that is known. */
  readonly sshUser: () => string | undefined;
}

interface Route<Body, Query> {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** `:name` stands for one part. */
  readonly path: string;
  readonly body: z.ZodType<Body>;
  readonly query: z.ZodType<Query>;
  readonly handle: (context: ApiContext, request: RouteRequest<Body, Query>) => Promise<unknown>;
}

interface RouteRequest<Body, Query> {
  /** What stood for `:name`. */
  readonly name: string;
  readonly body: Body;
  readonly query: Query;
}

export type AnyRoute = Route<unknown, unknown>;

const nothing = z.unknown();

interface RouteParts<Body, Query> {
  readonly body?: z.ZodType<Body>;
  readonly query?: z.ZodType<Query>;
}

function route<Body = unknown, Query = unknown>(
  method: AnyRoute["method"],
  path: string,
  { body, query }: RouteParts<Body, Query>,
  handle: Route<Body, Query>["handle"],
): AnyRoute {
  return { method, path, body: body ?? nothing, query: query ?? nothing, handle } as AnyRoute;
}

/** A route that changes settings: they are saved, and sshd told, before the answer. */
function change<Body = unknown, Query = unknown>(
  method: AnyRoute["method"],
  path: string,
  parts: RouteParts<Body, Query>,
  handle: Route<Body, Query>["handle"],
): AnyRoute {
  return route(method, path, parts, async (context, request) => {
    const answer = await handle(context, request);
    await context.settingsChanged();
    return answer;
  });
}

const quota = z.strictObject({
  softBytes: z.number().int().positive().optional(),
  hardBytes: z.number().int().positive().optional(),
});
const keyMode = z.enum(["full", "write-only"]);
const limit = z.coerce.number().int().min(1).max(100_000);

const pathsFrom = z.enum(["policy", "host"]);
const port = z.int().min(1).max(65_535);
const identityFile = z.string().startsWith("/", { error: "must be a full path" }).max(4096);
const newPull = z.strictObject({
  login: z.string().max(512),
  port: port.default(22),
  identityFile: identityFile.optional(),
  pathsFrom: pathsFrom.default("policy"),
});
const pullChange = z.strictObject({
  login: z.string().max(512).optional(),
  port: port.optional(),
  identityFile: identityFile.optional(),
  pathsFrom: pathsFrom.optional(),
  newHostKey: z.boolean().optional(),
});

const newHost = z.strictObject({
  name: z.string(),
  account: z.string().default("default"),
  policy: z.string().optional(),
  pull: newPull.optional(),
  /** Of one that comes with a stock rsync: its public key. */
  sshKey: z.string().max(4096).optional(),
  keyMode: keyMode.optional(),
  quota: quota.default({}),
});
const hostChange = z.strictObject({
  policy: z.string().optional(),
  keyMode: keyMode.optional(),
  quota: quota.optional(),
  suspended: z.boolean().optional(),
});
const newAccount = z.strictObject({
  name: z.string(),
  storageUrl: z.string().optional(),
  keyMode: z.enum(["server", "owner"]).default("server"),
  quota: quota.default({}),
});
const enrolment = z.strictObject({
  host: z.string(),
  keys: z.strictObject({ signingKey: z.string(), sshKey: z.string() }),
  withToken: z.boolean(),
});
const job = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("retention"), account: z.string() }),
  z.strictObject({ kind: z.literal("check"), account: z.string(), part: z.int().min(1), of: z.int().min(1) }),
  z.strictObject({ kind: z.literal("drill"), account: z.string(), host: z.string() }),
]);

const STATUS: readonly AnyRoute[] = [
  route("GET", "/v1/status", {}, ({ database, nowMs, troubles }) =>
    fleetStatus(database, { nowMs: nowMs(), troubles: troubles() }),
  ),
  route(
    "GET",
    "/v1/snapshots",
    { query: z.object({ host: z.string().optional(), limit: limit.default(1000) }) },
    ({ database }, { query }) => listCatalogue(database, query),
  ),
];

const HOSTS: readonly AnyRoute[] = [
  route("GET", "/v1/hosts", {}, ({ database }) => listHosts(database)),
  route("GET", "/v1/hosts/:name", {}, async ({ database, dataFolder }, { name }) => {
    const host = await findHost(database, name);
    const earlierKeys = await earlierKeysOf(database, host.id);
    const serverKey = findSigningKey(dataFolder, host.name)?.publicKey.toString("base64");
    return { ...host, earlierKeys, signatures: await signaturesOf(database, host, serverKey) };
  }),
  change("POST", "/v1/hosts", { body: newHost }, async (context, { body }) => {
    const { database, nowMs } = context;
    if (body.pull !== undefined) {
      checkName("host", body.name);
      const pull = await preparePull(context, body.name, body.pull);
      const policy = body.policy ?? (await keepPullPolicy(context));
      const host = await addHost(database, { ...body, policy, pull }, nowMs());
      return { host, installation: await pullInstallation(context, host.name) };
    }
    if (body.sshKey !== undefined)
      return { host: await addPushingHost(context, { ...body, sshKey: body.sshKey }, nowMs()) };
    const host = await addHost(
      database,
      { ...body, policy: body.policy ?? DEFAULT_POLICY_NAME, pull: undefined },
      nowMs(),
    );
    return { host, token: await createToken(database, host.name, nowMs()) };
  }),
  change("PATCH", "/v1/hosts/:name", { body: hostChange }, ({ database }, { name, body }) =>
    editHost(database, name, body),
  ),
  route("GET", "/v1/hosts/:name/pull", {}, (context, { name }) => pullInstallation(context, name)),
  change("PATCH", "/v1/hosts/:name/pull", { body: pullChange }, (context, { name, body }) =>
    changePull(context, name, body),
  ),
  route("POST", "/v1/hosts/:name/test", {}, (context, { name }) => testPull(context, name)),
  change("DELETE", "/v1/hosts/:name", {}, async ({ database }, { name }) => {
    await removeHost(database, name);
    return {};
  }),
  change("POST", "/v1/hosts/:name/approve", {}, ({ database, nowMs }, { name }) =>
    approveHost(database, name, nowMs()),
  ),
  change("POST", "/v1/hosts/:name/token", {}, async ({ database, nowMs }, { name }) => ({
    token: await createToken(database, name, nowMs()),
  })),
  route("POST", "/v1/hosts/:name/run", {}, ({ database, nowMs, startPull }, { name }) =>
    runHost(database, name, nowMs(), startPull),
  ),
  route("DELETE", "/v1/hosts/:name/run", {}, async ({ database }, { name }) => {
    const host = await findHost(database, name);
    if (await takeBackRun(database, host.id)) return {};
    throw new UsageError(`no run of the host "${name}" waits`);
  }),
  change("POST", "/v1/enrol", { body: enrolment }, async (context, { body }) => ({
    ...(await enrol(context.database, context.dataFolder, body, context.nowMs())),
    sshHostKeys: context.sshHostKeys(),
    sshUser: context.sshUser(),
  })),
];

/** What `GET /v1/hosts/NAME` gives. */
export interface HostDetails extends Host {
  readonly earlierKeys: readonly EarlierKey[];
  readonly signatures: Signatures;
}

export interface WantedRun {
  readonly run: Run;
  readonly host: Host;
}

/** A host that the server pulls from begins at once; another when its agent asks. */
async function runHost(
  database: Database,
  name: string,
  nowMs: number,
  startPull: ApiContext["startPull"],
): Promise<WantedRun> {
  const host = await findHost(database, name);
  if (host.state !== "active") {
    throw new UsageError(`the host "${name}" may not save: it is ${host.state}`, { hint: 'see "holdfast host show"' });
  }
  const { id, state } = await wantRun(database, host.id, nowMs);
  if (host.pull !== undefined && state === "waiting") await startPull(host);
  return { host, run: (await findRun(database, id))! };
}

const ACCOUNTS: readonly AnyRoute[] = [
  route("GET", "/v1/accounts", {}, ({ database }) => listAccounts(database)),
  route("GET", "/v1/accounts/:name", {}, ({ database }, { name }) => findAccount(database, name)),
  change("POST", "/v1/accounts", { body: newAccount }, ({ database, dataFolder, nowMs }, { body }) =>
    createAccount(database, dataFolder, { ...body, storageUrl: body.storageUrl }, new Date(nowMs())),
  ),
  change("PATCH", "/v1/accounts/:name", { body: z.strictObject({ quota }) }, async ({ database }, { name, body }) => {
    await changeQuota(database, await findAccount(database, name), body.quota);
    return findAccount(database, name);
  }),
];

const POLICIES: readonly AnyRoute[] = [
  route("GET", "/v1/policies", {}, ({ database }) => listPolicies(database)),
  route("GET", "/v1/policies/:name", {}, async ({ database }, { name }) => {
    const { id: _id, ...policy } = await findPolicy(database, name);
    return policy;
  }),
  change("POST", "/v1/policies/:name", { body: policySettings.partial() }, async ({ database }, { name, body }) => {
    const known = (await listPolicies(database)).some((policy) => policy.name === name);
    if (known) throw new UsageError(`there is a policy "${name}" already`, { hint: "edit it instead" });
    await savePolicy(database, name, parsePolicySettings({ ...DEFAULT_POLICY, ...body }));
    return { name, ...DEFAULT_POLICY, ...body };
  }),
  change("PATCH", "/v1/policies/:name", { body: policySettings.partial() }, async ({ database }, { name, body }) => {
    const { id: _id, name: _name, ...before } = await findPolicy(database, name);
    const settings = parsePolicySettings({ ...before, ...body });
    await savePolicy(database, name, settings);
    return { name, ...settings };
  }),
  change("DELETE", "/v1/policies/:name", {}, async ({ database }, { name }) => {
    await removePolicy(database, name);
    return {};
  }),
];

const runState = z.enum(["waiting", "running", "succeeded", "incomplete", "failed", "refused"]);

const RUNS: readonly AnyRoute[] = [
  route(
    "GET",
    "/v1/runs",
    { query: z.object({ host: z.string().optional(), state: runState.optional(), limit: limit.default(50) }) },
    async ({ database }, { query }) => {
      if (query.host !== undefined) await findHost(database, query.host);
      return listRuns(database, query);
    },
  ),
  route(
    "GET",
    "/v1/runs/:name",
    { query: z.object({ after: z.coerce.number().int().min(0).default(0) }) },
    async ({ database }, { name, query }) => {
      const run = await findRun(database, runNumber(name));
      if (run === undefined) throw new UsageError(`there is no run ${name}`, { hint: 'see "holdfast runs list"' });
      return { run, log: await readRunLog(database, run.id, query.after, 1000) };
    },
  ),
  route("POST", "/v1/runs/:name/accept", {}, async ({ database }, { name }) => {
    if (await acceptGrowth(database, runNumber(name))) return {};
    throw new UsageError(`run ${name} shows no sudden growth that could be accepted`);
  }),
  route("GET", "/v1/maintenance", { query: z.object({ limit: limit.default(50) }) }, ({ database }, { query }) =>
    listMaintenance(database, query.limit),
  ),
  route("POST", "/v1/maintenance", { body: job }, async ({ database, requestMaintenance }, { body }) => {
    const account = await findAccount(database, body.account);
    if (body.kind === "drill") await requireDrillable(database, account, body.host);
    requestMaintenance(body);
    return {};
  }),
  route("GET", "/v1/retention/:name", {}, async ({ database, dataFolder, nowMs, repositoryOf }, { name }) => {
    const account = await findAccount(database, name);
    const repository = await repositoryOf(account);
    const plan = await planAccountRetention({ database, dataFolder, nowMs }, account, repository);
    return {
      forget: plan.forget.map(({ snapshot: { id, host, timeMs }, reason, releasedBytes }) => ({
        id,
        host,
        timeMs,
        reason,
        releasedBytes,
      })),
      neededBytes: plan.neededBytes,
      lackingBytes: plan.lackingBytes,
    };
  }),
];

async function requireDrillable(database: Database, account: Account, host: string): Promise<void> {
  const { id, name } = account;
  if (account.keyMode === "owner") {
    throw new UsageError(`the server cannot read the account "${name}", and so prove nothing of it`, {
      hint: "its owner can, with the recovery key: docs/recovery.md",
    });
  }
  if ((await latestSnapshotMs(database, { accountId: id, name: host })) !== undefined) return;
  throw new UsageError(`the account "${name}" has no snapshot of a host "${host}"`, { hint: 'see "holdfast status"' });
}

function runNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new UsageError(`"${text}" is not the number of a run`, { hint: 'see "holdfast runs list"' });
}

export const ROUTES: readonly AnyRoute[] = [...STATUS, ...HOSTS, ...ACCOUNTS, ...POLICIES, ...RUNS];
