/** What both sides say first (docs/protocol.md, "Hello"). JSON, so that later versions can say more. */
import { ProtocolError } from "../errors.ts";
import { malformed } from "./bytes.ts";

export interface Version {
  /** Sides of different majors do not understand each other. */
  readonly major: number;
  /** The smaller of both sides' minors is what they speak. */
  readonly minor: number;
}

/** 1.1: `ask`, and in the server's hello `policy`, `nextRunMs` and `wanted`. */
export const VERSION: Version = { major: 1, minor: 1 };

/**
 * `backup`: may store objects and commit one snapshot. `read`: only reads. `ask`: only wants to hear what the server's
 * hello says.
 */
export type Purpose = "backup" | "read" | "ask";

/** What storage is opened for. */
export type SessionPurpose = Exclude<Purpose, "ask">;

/** What a server wants of a host: data to save and leave out, and when. Nothing in it is a command. */
export interface HostPolicy {
  /** As `parseSchedule` takes it; for when the server cannot be asked. */
  readonly schedule: string;
  /** Full paths; none: every local file system. */
  readonly sources: readonly string[];
  /** Patterns as in .gitignore. */
  readonly excludes: readonly string[];
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
}

export interface AgentHello {
  readonly version: Version;
  /** Name and version of the program, for logs. */
  readonly program: string;
  readonly purpose: Purpose;
  /** The ticket of a session that a broken connection left. */
  readonly resume?: string | undefined;
}

export interface ServerHello {
  readonly version: Version;
  readonly program: string;
  /** The name under which the server knows the host. */
  readonly host: string;
  /** Goes on with this session over another connection. */
  readonly ticket: string;
  /** When the session began, by the server's clock: the time that its snapshot must bear. */
  readonly startedMs: number;
  /** The server's clock now. */
  readonly nowMs: number;
  /** For agents that speak 1.1. */
  readonly policy?: HostPolicy | undefined;
  /** Who asks: from when on, by the server's clock, it shall save. */
  readonly nextRunMs?: number | undefined;
  /** Who asks: somebody wants a run now. */
  readonly wanted?: boolean | undefined;
}

const MAXIMUM_HELLO_BYTES = 16 * 1024;
/** With a policy; fits into one message. */
const MAXIMUM_SERVER_HELLO_BYTES = 120 * 1024;
const MAXIMUM_TEXT = 1024;
const MAXIMUM_PATHS = 1000;
const MAXIMUM_PATH_CHARACTERS = 4096;

/** Largest policy that can be told to a host, as JSON. */
export const MAXIMUM_POLICY_BYTES = 96 * 1024;

export function policyBytes(policy: HostPolicy): number {
  return Buffer.byteLength(JSON.stringify(policy), "utf8");
}

export function encodeHello(hello: AgentHello | ServerHello): Buffer {
  return Buffer.from(JSON.stringify(hello), "utf8");
}

/** Throws `ProtocolError`, also where the agent speaks a major version that is not ours. */
export function decodeAgentHello(json: Uint8Array): AgentHello {
  const fields = parse(json, MAXIMUM_HELLO_BYTES);
  const version = versionOf(fields["version"]);
  if (version.major !== VERSION.major) {
    const older = version.major < VERSION.major ? "agent" : "server";
    throw new ProtocolError(`the agent speaks version ${version.major} of the protocol, the server ${VERSION.major}`, {
      hint: `update Holdfast on the ${older}`,
    });
  }
  const purpose = fields["purpose"];
  if (purpose !== "backup" && purpose !== "read" && purpose !== "ask") {
    throw new ProtocolError("the agent wants something of a session that this server does not know", {
      hint: "update Holdfast on the server",
    });
  }
  const resume = fields["resume"] === undefined ? undefined : textOf(fields, "resume");
  return { version, program: textOf(fields, "program"), purpose, resume };
}

/** Throws `ProtocolError`. */
export function decodeServerHello(json: Uint8Array): ServerHello {
  const fields = parse(json, MAXIMUM_SERVER_HELLO_BYTES);
  const version = versionOf(fields["version"]);
  if (version.major !== VERSION.major) {
    throw new ProtocolError(`the server speaks version ${version.major} of the protocol, this agent ${VERSION.major}`, {
      hint: `update Holdfast on ${version.major < VERSION.major ? "the server" : "this host"}`,
    });
  }
  const policy = fields["policy"] === undefined ? undefined : policyOf(fields["policy"]);
  const nextRunMs = fields["nextRunMs"] === undefined ? undefined : timeOf(fields, "nextRunMs");
  return {
    version,
    program: textOf(fields, "program"),
    host: textOf(fields, "host"),
    ticket: textOf(fields, "ticket"),
    startedMs: timeOf(fields, "startedMs"),
    nowMs: timeOf(fields, "nowMs"),
    ...(policy !== undefined && { policy }),
    ...(nextRunMs !== undefined && { nextRunMs }),
    ...(fields["wanted"] === true && { wanted: true }),
  };
}

/** Only what is known of it, so that a later version may say more. */
function policyOf(value: unknown): HostPolicy {
  const fields = recordOf(value);
  if (fields === undefined) throw malformed("the policy of its hello is no object");
  const policy: HostPolicy = {
    schedule: textOf(fields, "schedule"),
    sources: textsOf(fields, "sources"),
    excludes: textsOf(fields, "excludes"),
    ...rateOf(fields, "uploadBytesPerSecond"),
    ...rateOf(fields, "downloadBytesPerSecond"),
  };
  if (!policy.sources.every((path) => path.startsWith("/"))) throw malformed("a path of its policy is not a full one");
  return policy;
}

function textsOf(fields: Record<string, unknown>, name: string): string[] {
  const values = fields[name];
  const isText = (value: unknown): boolean =>
    typeof value === "string" && value !== "" && value.length <= MAXIMUM_PATH_CHARACTERS && !/[\0\r\n]/.test(value);
  if (!Array.isArray(values) || values.length > MAXIMUM_PATHS || !values.every(isText)) {
    throw malformed(`"${name}" of its policy is no list of paths`);
  }
  return values as string[];
}

function rateOf<Name extends "uploadBytesPerSecond" | "downloadBytesPerSecond">(
  fields: Record<string, unknown>,
  name: Name,
): Partial<Record<Name, number>> {
  const value = fields[name];
  if (value === undefined) return {};
  if (!isCount(value) || value < MINIMUM_BYTES_PER_SECOND) throw malformed(`"${name}" of its policy is no rate`);
  return { [name]: value } as Record<Name, number>;
}

/** What is slower never ends. */
export const MINIMUM_BYTES_PER_SECOND = 1024;

/** What two sides of one major speak. */
export function commonVersion(ours: Version, theirs: Version): Version {
  return { major: ours.major, minor: Math.min(ours.minor, theirs.minor) };
}

function parse(json: Uint8Array, maximumBytes: number): Record<string, unknown> {
  if (json.length > maximumBytes) throw malformed(`a hello of ${json.length} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.length).toString("utf8"));
  } catch {
    throw malformed("its hello is not JSON");
  }
  const fields = recordOf(value);
  if (fields === undefined) throw malformed("its hello is no object");
  return fields;
}

function recordOf(value: unknown): Record<string, unknown> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  // Without a prototype no field is there that was not sent.
  return Object.assign(Object.create(null) as Record<string, unknown>, value);
}

function versionOf(value: unknown): Version {
  const { major, minor } = (typeof value === "object" && value !== null ? value : {}) as Partial<Version>;
  if (!isCount(major) || !isCount(minor)) throw malformed("its hello names no version");
  return { major, minor };
}

function textOf(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== "string" || value.length > MAXIMUM_TEXT) throw malformed(`"${name}" of its hello is no text`);
  return value;
}

function timeOf(fields: Record<string, unknown>, name: string): number {
  const value = fields[name];
  // The largest that a Date takes.
  if (!isCount(value) || value > 8.64e15) throw malformed(`"${name}" of its hello is no time`);
  return value;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
