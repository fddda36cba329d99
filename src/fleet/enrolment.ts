/**
 * How a host comes to the server.
 *
 * It makes two key pairs, one for SSH and one that signs its snapshots, and hands over the public halves: through the
 * login of a person who may log in as the server's user, or with a one-time token. A token is itself an SSH key, of which
 * the server lets in nothing but an enrolment under one name; it goes when the host is enrolled, or is too old. While the
 * keys that came with it wait for approval it holds for them alone, as the host has to come once more.
 */
import { encodeKeyRing, toWriteOnly } from "../crypto/key-ring.ts";
import { generateSigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { UsageError } from "../errors.ts";
import { DEFAULT_ACCOUNT_NAME, readKeyRing } from "./accounts.ts";
import { parseSshKey, sshKeyOf } from "./authorized-keys.ts";
import type { Database } from "./database/open.ts";
import { addHost, findHost, offerKeys, type EnrolmentState, type HostKeys } from "./hosts.ts";
import { DEFAULT_POLICY_NAME, findPolicy, type Policy } from "./policies.ts";

export const TOKEN_LASTS_MS = 24 * 60 * 60 * 1000;
const TOKEN_START = "holdfast-token-";

/** Makes a one-time token for a host, in place of an earlier one: `holdfast-token-` and a key's seed. */
export async function createToken(database: Database, host: string, nowMs: number): Promise<string> {
  const { id } = await findHost(database, host);
  const { publicKey, privateKey } = generateSigningKey();
  const row = { ssh_key: sshKeyOf(publicKey), expires_ms: nowMs + TOKEN_LASTS_MS, used_by: null };
  await database
    .insertInto("tokens")
    .values({ host_id: id, ...row })
    .onConflict((conflict) => conflict.column("host_id").doUpdateSet(row))
    .execute();
  return TOKEN_START + privateKey.toString("base64url");
}

/** The Ed25519 key that a token is. Throws `UsageError`. */
export function keyOfToken(token: string): ReturnType<typeof signingKeyFromSeed> {
  const text = token.trim();
  const seed = Buffer.from(text.slice(TOKEN_START.length), "base64url");
  if (text.startsWith(TOKEN_START) && seed.length === 32) return signingKeyFromSeed(seed);
  throw new UsageError("that is not a token", { hint: 'it is what "holdfast host add NAME" prints' });
}

export interface EnrolmentRequest {
  readonly host: string;
  readonly keys: HostKeys;
  /** The host has nothing but a token: it must still hold, and is used up. */
  readonly withToken: boolean;
}

export interface Enrolment {
  readonly host: string;
  readonly account: string;
  readonly state: EnrolmentState;
  readonly policy: Policy;
  /** JSON of the key ring that the host may have; undefined until it is approved. */
  readonly keyRing: string | undefined;
}

/** Takes a host's keys, and gives it what it needs. Throws `UsageError` or `HoldfastError` where it may not enrol. */
export async function enrol(
  database: Database,
  dataFolder: string,
  request: EnrolmentRequest,
  nowMs: number,
): Promise<Enrolment> {
  const keys = { signingKey: checkSigningKey(request.keys.signingKey), sshKey: parseSshKey(request.keys.sshKey) };
  if (request.withToken) await requireToken(database, request.host, keys, nowMs);
  else await addIfUnknown(database, request.host, nowMs);
  const state = await offerKeys(database, request.host, keys);
  const host = await findHost(database, request.host);
  if (request.withToken) await useToken(database, host.id, keys, state);
  const { id: _id, ...policy } = await findPolicy(database, host.policy);
  return {
    host: host.name,
    account: host.account,
    state,
    policy,
    keyRing: state === "active" ? keyRingFor(dataFolder, host) : undefined,
  };
}

/** The key ring that a host may have: only what it needs to write, unless it may restore its own. */
export function keyRingFor(
  dataFolder: string,
  {
    name,
    account,
    keyMode,
  }: { readonly name: string; readonly account: string; readonly keyMode: "full" | "write-only" },
): string {
  const ring = readKeyRing(dataFolder, account);
  if (keyMode === "full" && ring.privateKey === undefined) {
    throw new UsageError(`the server does not have the key that the host "${name}" would need to read`, {
      hint: `make it a write-only one: holdfast host edit ${name} --key-mode write-only`,
    });
  }
  return encodeKeyRing(keyMode === "full" ? ring : toWriteOnly(ring), { label: name }).toString("utf8");
}

async function requireToken(database: Database, host: string, keys: HostKeys, nowMs: number): Promise<void> {
  const token = await database
    .selectFrom("tokens")
    .innerJoin("hosts", "hosts.id", "tokens.host_id")
    .select(["tokens.expires_ms", "tokens.used_by"])
    .where("hosts.name", "=", host)
    .executeTakeFirst();
  const holds = token !== undefined && token.expires_ms > nowMs;
  if (holds && (token.used_by ?? keys.sshKey) === keys.sshKey) return;
  throw new UsageError(`the token for "${host}" was used already, or is too old`, {
    hint: `an administrator can make another: holdfast host token ${host}`,
  });
}

async function useToken(database: Database, hostId: number, keys: HostKeys, state: EnrolmentState): Promise<void> {
  if (state === "active") await database.deleteFrom("tokens").where("host_id", "=", hostId).execute();
  else await database.updateTable("tokens").set({ used_by: keys.sshKey }).where("host_id", "=", hostId).execute();
}

async function addIfUnknown(database: Database, name: string, nowMs: number): Promise<void> {
  const known = await database.selectFrom("hosts").select("id").where("name", "=", name).executeTakeFirst();
  if (known !== undefined) return;
  const where = { account: DEFAULT_ACCOUNT_NAME, policy: DEFAULT_POLICY_NAME };
  await addHost(database, { name, ...where, keyMode: "full", quota: {} }, nowMs);
}

function checkSigningKey(text: string): string {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length === 32 && bytes.toString("base64") === text) return text;
  throw new UsageError("the signing key is not 32 bytes in base64");
}
