/** What an agent keeps on its host: who it is, where its server is, and its keys. Only root may read it. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { decodeKeyRing, type KeyRing } from "../crypto/key-ring.ts";
import { generateSigningKey, signingKeyFromSeed, type SigningKey } from "../crypto/signing.ts";
import { errnoOf, messageOf, UsageError } from "../errors.ts";
import { sshKeyOf } from "../fleet/authorized-keys.ts";
import { parseSchedule } from "../fleet/schedule.ts";
import { writeFileDurably } from "../fleet/write-file.ts";
import type { ByteChannel } from "../wire/connection.ts";
import type { HostPolicy } from "../wire/hello.ts";
import { opensshPrivateKey } from "../crypto/openssh-key.ts";
import { openSocketChannel } from "./socket-channel.ts";
import { openSshChannel } from "./ssh-channel.ts";

export const DEFAULT_AGENT_FOLDER = "/var/lib/holdfast-agent";

const remoteServer = z.object({
  host: z.string(),
  port: z.number(),
  user: z.string(),
  /** The login of the person who set this up, where it is not the host's. */
  setupUser: z.string().optional(),
});
/** On this machine, of the same user. */
const localServer = z.object({ dataFolder: z.string() });

/** What else an earlier version kept of it is dropped. */
const hostPolicy = z.object({
  schedule: z.string(),
  sources: z.array(z.string()).readonly(),
  excludes: z.array(z.string()).readonly(),
  uploadBytesPerSecond: z.number().positive().optional(),
  downloadBytesPerSecond: z.number().positive().optional(),
});

const agentSettings = z.object({
  host: z.string(),
  server: z.union([remoteServer, localServer]),
  policy: hostPolicy,
  /** What the server says later of the policy does not count. */
  fixedPolicy: z.boolean().optional(),
});

export type AgentSettings = z.infer<typeof agentSettings>;
export type RemoteServer = z.infer<typeof remoteServer>;
export type AgentServer = AgentSettings["server"];

/** For people. */
export function serverName(server: AgentServer): string {
  if ("dataFolder" in server) return `the server of ${server.dataFolder}`;
  return `${server.user}@${server.host}${server.port === 22 ? "" : `:${server.port}`}`;
}

/** The login by which a person enrols this host. */
export function setupLogin(server: AgentServer): AgentServer {
  return "dataFolder" in server ? server : { ...server, user: server.setupUser ?? server.user };
}

export const agentFile = {
  settings: (folder: string) => path.join(folder, "agent.json"),
  signingKey: (folder: string) => path.join(folder, "signing-key"),
  sshKey: (folder: string) => path.join(folder, "ssh-key"),
  sshKeySeed: (folder: string) => path.join(folder, "ssh-key.seed"),
  /** A folder with keys that wait to be approved. */
  nextKeys: (folder: string) => path.join(folder, "next"),
  keyRing: (folder: string) => path.join(folder, "key-ring.json"),
  knownHosts: (folder: string) => path.join(folder, "known_hosts"),
  cache: (folder: string) => path.join(folder, "cache"),
  lastRun: (folder: string) => path.join(folder, "last-run.json"),
  /** What the server answered last. */
  asked: (folder: string) => path.join(folder, "asked.json"),
  /** Patterns, one a line, of what is never saved, whatever the server wants. */
  exclude: (folder: string) => path.join(folder, "exclude"),
} as const;

export interface AgentKeys {
  readonly signing: SigningKey;
  readonly ssh: SigningKey;
}

/** The host's two key pairs, made where they are not there. */
export function keepAgentKeys(folder: string, comment: string): AgentKeys {
  const signing = keptKey(agentFile.signingKey(folder));
  const ssh = keptKey(agentFile.sshKeySeed(folder));
  writeFileDurably(agentFile.sshKey(folder), opensshPrivateKey(ssh, comment));
  return { signing, ssh };
}

function keptKey(file: string): SigningKey {
  if (existsSync(file)) return decodeKey(readFileSync(file, "latin1"), file);
  const key = generateSigningKey();
  writeFileDurably(file, `${key.privateKey.toString("base64")}\n`);
  return key;
}

function decodeKey(text: string, file: string): SigningKey {
  const seed = Buffer.from(text.trim(), "base64");
  if (seed.length === 32) return signingKeyFromSeed(seed);
  throw new UsageError(`${file} is not a key`, { hint: 'remove it, and run "holdfast agent setup" again' });
}

/** As the server takes them. */
export function publicKeysOf({ signing, ssh }: AgentKeys): { signingKey: string; sshKey: string } {
  return { signingKey: signing.publicKey.toString("base64"), sshKey: sshKeyOf(ssh.publicKey) };
}

export function saveAgentSettings(folder: string, settings: AgentSettings): void {
  writeFileDurably(agentFile.settings(folder), `${JSON.stringify(settings, undefined, 2)}\n`);
}

/**
 * Takes over what the server says of the policy, and remembers it. Gives the settings that count now: the same ones where
 * nothing changed.
 */
export function applyPolicy(folder: string, settings: AgentSettings, told: HostPolicy | undefined): AgentSettings {
  if (told === undefined || settings.fixedPolicy === true) return settings;
  const policy = hostPolicy.parse(told);
  if (isDeepStrictEqual(policy, settings.policy) || !isSchedule(policy.schedule)) return settings;
  const changed = { ...settings, policy };
  saveAgentSettings(folder, changed);
  return changed;
}

function isSchedule(text: string): boolean {
  try {
    return parseSchedule(text) !== undefined;
  } catch {
    return false;
  }
}

/** Patterns of the host's own, from the file `exclude` in the agent's folder; it need not be there. */
export function ownExcludes(folder: string): string[] {
  const file = agentFile.exclude(folder);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    // To go on without it would save what it keeps out.
    if (errnoOf(cause) !== "ENOENT") throw new UsageError(`could not read ${file}: ${messageOf(cause)}`, { cause });
    return [];
  }
  return text.split(/\r?\n/).filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

export interface Agent {
  readonly settings: AgentSettings;
  /** Opens a channel to the server. */
  readonly connect: () => ByteChannel;
  readonly signingKey: SigningKey;
  readonly ring: KeyRing;
}

/** Throws `UsageError` where the host was not set up. */
export function readAgent(folder: string): Agent {
  const settings = readAgentSettings(folder);
  return {
    settings,
    connect: () => connectTo(settings, agentFile.sshKey(folder), agentFile.knownHosts(folder)),
    signingKey: decodeKey(readText(agentFile.signingKey(folder)), agentFile.signingKey(folder)),
    ring: decodeKeyRing(Buffer.from(readText(agentFile.keyRing(folder))), agentFile.keyRing(folder)).ring,
  };
}

export function connectTo({ host, server }: AgentSettings, identityFile: string, knownHostsFile: string): ByteChannel {
  if ("dataFolder" in server) return openSocketChannel(server.dataFolder, host);
  return openSshChannel({ ...server, identityFile, knownHostsFile });
}

export function readAgentSettings(folder: string): AgentSettings {
  const file = agentFile.settings(folder);
  const result = agentSettings.safeParse(JSON.parse(readText(file)));
  if (result.success) return result.data;
  throw new UsageError(`${file} is not as it should be: ${result.error.issues[0].path.join(".")}`, {
    hint: 'run "holdfast agent setup" again',
  });
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    if (errnoOf(cause) === "EACCES") {
      throw new UsageError(`you may not read ${file}`, { hint: "run this as root", cause });
    }
    const why = errnoOf(cause) === "ENOENT" ? `there is no ${file}` : messageOf(cause);
    if (errnoOf(cause) === "ENOENT" && existsSync(agentFile.signingKey(path.dirname(file)))) {
      throw new UsageError("this host has offered its keys to a server, but its setup has not come to its end", {
        hint: 'once an administrator there has approved them, run "holdfast agent setup" again',
        cause,
      });
    }
    throw new UsageError(`this host is not set up: ${why}`, {
      hint: 'run "holdfast agent setup USER@SERVER" first',
      cause,
    });
  }
}
