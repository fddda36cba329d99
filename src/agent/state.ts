/** What an agent keeps on its host: who it is, where its server is, and its keys. Only root may read it. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { decodeKeyRing, type KeyRing } from "../crypto/key-ring.ts";
import { generateSigningKey, signingKeyFromSeed, type SigningKey } from "../crypto/signing.ts";
import { errnoOf, messageOf, UsageError } from "../errors.ts";
import { sshKeyOf } from "../fleet/authorized-keys.ts";
import { policySettings } from "../fleet/policies.ts";
import { writeFileDurably } from "../fleet/write-file.ts";
import type { ByteChannel } from "../wire/connection.ts";
import { opensshPrivateKey } from "./openssh-key.ts";
import { openSocketChannel } from "./socket-channel.ts";
import { openSshChannel } from "./ssh-channel.ts";

export const DEFAULT_AGENT_FOLDER = "/var/lib/holdfast-agent";

const remoteServer = z.object({ host: z.string(), port: z.number(), user: z.string() });
/** On this machine, of the same user. */
const localServer = z.object({ dataFolder: z.string() });

const agentSettings = z.object({
  host: z.string(),
  server: z.union([remoteServer, localServer]),
  policy: policySettings,
});

export type AgentSettings = z.infer<typeof agentSettings>;
export type RemoteServer = z.infer<typeof remoteServer>;
export type AgentServer = AgentSettings["server"];

/** For people. */
export function serverName(server: AgentServer): string {
  if ("dataFolder" in server) return `the server of ${server.dataFolder}`;
  return `${server.user}@${server.host}${server.port === 22 ? "" : `:${server.port}`}`;
}

export const agentFile = {
  settings: (folder: string) => path.join(folder, "agent.json"),
  signingKey: (folder: string) => path.join(folder, "signing-key"),
  sshKey: (folder: string) => path.join(folder, "ssh-key"),
  keyRing: (folder: string) => path.join(folder, "key-ring.json"),
  knownHosts: (folder: string) => path.join(folder, "known_hosts"),
  cache: (folder: string) => path.join(folder, "cache"),
  lastRun: (folder: string) => path.join(folder, "last-run.json"),
} as const;

export interface AgentKeys {
  readonly signing: SigningKey;
  readonly ssh: SigningKey;
}

/** The host's two key pairs, made where they are not there. */
export function keepAgentKeys(folder: string, comment: string): AgentKeys {
  const signing = keptKey(agentFile.signingKey(folder));
  const seedFile = `${agentFile.sshKey(folder)}.seed`;
  const ssh = keptKey(seedFile);
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
    connect: () => connect(folder, settings),
    signingKey: decodeKey(readText(agentFile.signingKey(folder)), agentFile.signingKey(folder)),
    ring: decodeKeyRing(Buffer.from(readText(agentFile.keyRing(folder))), agentFile.keyRing(folder)).ring,
  };
}

function connect(folder: string, { host, server }: AgentSettings): ByteChannel {
  if ("dataFolder" in server) return openSocketChannel(server.dataFolder, host);
  return openSshChannel({
    ...server,
    identityFile: agentFile.sshKey(folder),
    knownHostsFile: agentFile.knownHosts(folder),
  });
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
    throw new UsageError(`this host is not set up: ${messageOf(cause)}`, {
      hint: 'run "holdfast agent setup USER@SERVER" first',
      cause,
    });
  }
}
