/** What both sides say first (docs/protocol.md, "Hello"). JSON, so that later versions can say more. */
import { ProtocolError } from "../errors.ts";
import { malformed } from "./bytes.ts";

export interface Version {
  /** Sides of different majors do not understand each other. */
  readonly major: number;
  /** The smaller of both sides' minors is what they speak. */
  readonly minor: number;
}

export const VERSION: Version = { major: 1, minor: 0 };

/** `backup`: may store objects and commit one snapshot. `read`: only reads. */
export type Purpose = "backup" | "read";

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
}

const MAXIMUM_HELLO_BYTES = 16 * 1024;
const MAXIMUM_TEXT = 1024;

export function encodeHello(hello: AgentHello | ServerHello): Buffer {
  return Buffer.from(JSON.stringify(hello), "utf8");
}

/** Throws `ProtocolError`, also where the agent speaks a major version that is not ours. */
export function decodeAgentHello(json: Uint8Array): AgentHello {
  const fields = parse(json);
  const version = versionOf(fields["version"]);
  if (version.major !== VERSION.major) {
    const older = version.major < VERSION.major ? "agent" : "server";
    throw new ProtocolError(`the agent speaks version ${version.major} of the protocol, the server ${VERSION.major}`, {
      hint: `update Holdfast on the ${older}`,
    });
  }
  const purpose = fields["purpose"];
  if (purpose !== "backup" && purpose !== "read") throw malformed(`no session has such a purpose`);
  const resume = fields["resume"] === undefined ? undefined : textOf(fields, "resume");
  return { version, program: textOf(fields, "program"), purpose, resume };
}

/** Throws `ProtocolError`. */
export function decodeServerHello(json: Uint8Array): ServerHello {
  const fields = parse(json);
  const version = versionOf(fields["version"]);
  if (version.major !== VERSION.major) throw malformed(`the server answers in version ${version.major}`);
  return {
    version,
    program: textOf(fields, "program"),
    host: textOf(fields, "host"),
    ticket: textOf(fields, "ticket"),
    startedMs: timeOf(fields, "startedMs"),
    nowMs: timeOf(fields, "nowMs"),
  };
}

/** What two sides of one major speak. */
export function commonVersion(ours: Version, theirs: Version): Version {
  return { major: ours.major, minor: Math.min(ours.minor, theirs.minor) };
}

function parse(json: Uint8Array): Record<string, unknown> {
  if (json.length > MAXIMUM_HELLO_BYTES) throw malformed(`a hello of ${json.length} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.length).toString("utf8"));
  } catch {
    throw malformed("its hello is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("its hello is no object");
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
