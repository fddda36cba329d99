/** Enrols this host at a server: over the system's own ssh, or at one of the same machine. */
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { decodeKeyRing } from "../crypto/key-ring.ts";
import { ConnectionError, errnoOf, HoldfastError, UsageError } from "../errors.ts";
import { parseSshKey } from "../fleet/authorized-keys.ts";
import { keyOfToken } from "../fleet/enrolment.ts";
import { checkName } from "../fleet/names.ts";
import { sshOptionPath } from "../fleet/ssh-option-path.ts";
import { hostPolicyOf, policySettings } from "../fleet/policies.ts";
import { writeFileDurably } from "../fleet/write-file.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { opensshPrivateKey } from "../crypto/openssh-key.ts";
import {
  agentFile,
  keepAgentKeys,
  publicKeysOf,
  saveAgentSettings,
  type AgentServer,
  type RemoteServer,
} from "./state.ts";

export interface SetupRequest {
  readonly folder: string;
  readonly server: AgentServer;
  /** Name under which the server is to know this host. */
  readonly hostName: string;
  /** Hands over the public keys as JSON, and gives what `holdfast enrol` on the server has printed. */
  readonly enrol: (keys: string) => Promise<string>;
  /** The policy stays as it is now, whatever the server says later. */
  readonly fixedPolicy?: boolean | undefined;
}

/** An enrolment over ssh. */
export interface SshEnrolment extends Pick<SetupRequest, "folder"> {
  readonly server: RemoteServer;
  /** Undefined where the name is left to the token. */
  readonly hostName: string | undefined;
  readonly token: string | undefined;
  /** The server's host key, `ssh-ed25519 AAAA…`, where it is known already; otherwise the first one seen is pinned. */
  readonly hostKey: string | undefined;
  /** How Holdfast is called on the server, for the login of a person. */
  readonly remoteCommand: string;
  /** A person is there whom ssh may ask. */
  readonly interactive: boolean;
  /** More options for ssh: another identity, say. */
  readonly sshOptions?: readonly string[];
}

export interface SetupResult {
  readonly state: "active" | "pending-approval";
  readonly host: string;
  readonly account: string;
  readonly schedule: string;
  /** With the login that the host has there. */
  readonly server: AgentServer;
}

const answer = z.object({
  host: z.string(),
  account: z.string(),
  state: z.enum(["active", "pending-approval"]),
  // A newer server may say more.
  policy: policySettings.strip(),
  keyRing: z.string().optional(),
  /** The login that hosts have there, which may be another than the one of the person. */
  sshUser: z.stringFormat("user", /^[A-Za-z0-9_][A-Za-z0-9._-]*$/).optional(),
});

type Enrolled = z.infer<typeof answer>;

/** Makes keys where there are none, and hands their public halves over. May be repeated: a host that is known stays so. */
export async function enrolAtServer(request: SetupRequest): Promise<SetupResult> {
  const { folder, server, hostName } = request;
  const enrolled = await offerKeys(folder, hostName, request.enrol);
  const policy = hostPolicyOf(enrolled.policy);
  const hostLogin = loginOfHost(server, enrolled.sshUser);
  if (enrolled.state === "active") {
    if (enrolled.keyRing === undefined) throw new HoldfastError("the server gave no key ring");
    decodeKeyRing(Buffer.from(enrolled.keyRing), "the key ring from the server");
    writeFileDurably(agentFile.keyRing(folder), enrolled.keyRing);
    saveAgentSettings(folder, {
      host: enrolled.host,
      server: hostLogin,
      policy,
      fixedPolicy: request.fixedPolicy === true,
    });
  }
  const { state, host, account } = enrolled;
  return { state, host, account, schedule: policy.schedule, server: hostLogin };
}

function loginOfHost(server: AgentServer, user: string | undefined): AgentServer {
  if ("dataFolder" in server || user === undefined || user === server.user) return server;
  return { ...server, user, setupUser: server.user };
}

/** The keys in a folder, made where they are not there, as the server takes them. */
export async function offerKeys(folder: string, hostName: string, enrol: SetupRequest["enrol"]): Promise<Enrolled> {
  checkName("host", hostName);
  makeFolder(folder);
  const keys = keepAgentKeys(folder, `holdfast agent of ${hostName}`);
  const said = await enrol(JSON.stringify(publicKeysOf(keys)));
  try {
    return answer.parse(JSON.parse(said));
  } catch (cause) {
    throw new ConnectionError("what answered is no Holdfast server", {
      hint: "is the login the right one? See --remote-command",
      cause,
    });
  }
}

export async function enrolOverSsh(request: SshEnrolment, input: string): Promise<string> {
  const { folder, server, hostName, token, hostKey, interactive, remoteCommand } = request;
  const knownHosts = agentFile.knownHosts(folder);
  const place = server.port === 22 ? server.host : `[${server.host}]:${server.port}`;
  const temporary = mkdtempSync(path.join(folder, "setup-"));
  // What is pinned counts until an enrolment has come to its end.
  const pinning = path.join(temporary, "known_hosts");
  if (hostKey !== undefined) writeFileSync(pinning, `${place} ${parseSshKey(hostKey)}\n`);
  else if (existsSync(knownHosts)) copyFileSync(knownHosts, pinning);
  try {
    const identity: string[] = [];
    if (token !== undefined) {
      const file = path.join(temporary, "token-key");
      writeFileSync(file, opensshPrivateKey(keyOfToken(token), "token"), { mode: 0o600 });
      identity.push(
        "-F/dev/null",
        `-oIdentityFile=${sshOptionPath(file)}`,
        "-oIdentitiesOnly=yes",
        "-oIdentityAgent=none",
        "-oBatchMode=yes",
      );
    } else if (!interactive) identity.push("-oBatchMode=yes");
    const checking = hostKey !== undefined ? "yes" : interactive && token === undefined ? "ask" : "accept-new";
    const args = [
      ...identity,
      `-oUserKnownHostsFile=${sshOptionPath(pinning)}`,
      "-oGlobalKnownHostsFile=/dev/null",
      "-oHashKnownHosts=no",
      `-oStrictHostKeyChecking=${checking}`,
      "-oConnectTimeout=30",
      "-oControlPath=none",
      "-T",
      ...(request.sshOptions ?? []),
      `-p${server.port}`,
      `-l${server.user}`,
      "--",
      server.host,
      `${remoteCommand} enrol${hostName === undefined ? "" : ` --host ${hostName}`}`,
    ];
    const said = await runSsh(args, input, (messages, code) => enrolmentFailure(request, messages, code));
    writeFileDurably(knownHosts, readFileSync(pinning));
    return said;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function runSsh(
  args: readonly string[],
  input: string,
  failure: (messages: string, code: number) => Error,
): Promise<string> {
  const child = spawn("ssh", args, { stdio: ["pipe", "pipe", "pipe"] });
  const failed = new Promise<never>((_, reject) => {
    child.on("error", (cause) => {
      const why = errnoOf(cause) === "ENOENT" ? "there is no such program on this machine" : cause.message;
      reject(new ConnectionError(`ssh cannot be started: ${why}`, { hint: "install OpenSSH's client", cause }));
    });
  });
  const ended = new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? 255)));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.race([
    Promise.all([text(child.stdout), text(child.stderr), ended]),
    failed,
  ]);
  if (code === 0) return stdout;
  throw failure(stderr, code);
}

function enrolmentFailure({ folder, server, hostKey, token }: SshEnrolment, messages: string, code: number): Error {
  const lines = messages.trim().split("\n");
  const fatal = lines.findIndex((line) => line.startsWith("Fatal: "));
  if (fatal >= 0) {
    const hint = lines.slice(fatal + 1).join(" ");
    return new UsageError(lines[fatal].slice("Fatal: ".length), { hint: hint.trim() });
  }
  if (messages.includes("Host key verification failed")) {
    const expected = hostKey === undefined ? `the one that ${agentFile.knownHosts(folder)} pins` : "the one given";
    return new ConnectionError(`${server.host} shows another SSH host key than ${expected}`, {
      hint: `compare it with the server's own, /etc/ssh/ssh_host_*_key.pub there, and give that with --host-key`,
    });
  }
  const isTokenRefused = token !== undefined && messages.includes("Permission denied");
  return new ConnectionError(`${server.host}: ${lines.at(-1) || `ssh ended with code ${code}`}`, {
    hint: isTokenRefused
      ? 'a token holds once, for a day, and for the login it was printed with; for another: "holdfast host token NAME" there'
      : "try to log in with ssh yourself, or use a token: holdfast host add NAME on the server prints one",
  });
}
