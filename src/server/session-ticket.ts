/**
 * What an agent shows to go on with a session over another connection. It proves by itself what the server said when the
 * session began, so a server that was started anew in between takes it as well.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

export interface TicketContent {
  /** 16 random bytes. */
  readonly sessionId: Buffer;
  readonly startedMs: number;
}

const CONTEXT = Buffer.from("holdfast 2026 session ticket");
const BYTES = 16 + 8 + 32;

export function newSession(startedMs: number): TicketContent {
  return { sessionId: randomBytes(16), startedMs };
}

/** For this host and no other. */
export function writeTicket(key: Uint8Array, host: string, { sessionId, startedMs }: TicketContent): string {
  const time = Buffer.alloc(8);
  time.writeBigUInt64LE(BigInt(startedMs));
  const content = Buffer.concat([sessionId, time]);
  return Buffer.concat([content, authentication(key, host, content)]).toString("base64url");
}

/** Undefined where it was not made with this key for this host. */
export function readTicket(key: Uint8Array, host: string, ticket: string): TicketContent | undefined {
  const bytes = Buffer.from(ticket, "base64url");
  if (bytes.length !== BYTES) return undefined;
  const content = bytes.subarray(0, 24);
  if (!timingSafeEqual(bytes.subarray(24), authentication(key, host, content))) return undefined;
  return { sessionId: Buffer.from(bytes.subarray(0, 16)), startedMs: Number(bytes.readBigUInt64LE(16)) };
}

function authentication(key: Uint8Array, host: string, content: Uint8Array): Buffer {
  return createHmac("sha256", key).update(CONTEXT).update(content).update(host).digest();
}
