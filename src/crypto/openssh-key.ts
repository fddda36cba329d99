import { randomBytes } from "node:crypto";
import type { SigningKey } from "./signing.ts";

/**
 * An Ed25519 key pair as `ssh -i` wants it: OpenSSH's own format, without a passphrase (PROTOCOL.key in OpenSSH's
 * source; the key itself as in RFC 8709).
 */
export function opensshPrivateKey({ publicKey, privateKey }: SigningKey, comment: string): string {
  const type = Buffer.from("ssh-ed25519");
  const blob = Buffer.concat([lengthAnd(type), lengthAnd(publicKey)]);
  const check = randomBytes(4);
  const secret = Buffer.concat([
    check,
    check,
    blob,
    lengthAnd(Buffer.concat([privateKey, publicKey])),
    lengthAnd(Buffer.from(comment)),
  ]);
  // Padded with 1, 2, 3, … to whole blocks of eight.
  const padding = Buffer.from(Array.from({ length: (8 - (secret.length % 8)) % 8 }, (_, index) => index + 1));
  const none = Buffer.from("none");
  const bytes = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    lengthAnd(none),
    lengthAnd(none),
    lengthAnd(Buffer.alloc(0)),
    u32(1),
    lengthAnd(blob),
    lengthAnd(Buffer.concat([secret, padding])),
  ]);
  const lines = bytes.toString("base64").match(/.{1,70}/g) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function lengthAnd(bytes: Uint8Array): Buffer {
  return Buffer.concat([u32(bytes.length), bytes]);
}
