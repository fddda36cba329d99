/**
 * Opens `keys/<id>`: an age file (https://c2sp.org/age) for a passphrase or for an X25519 identity. Node built-ins only.
 */
import {
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  scryptSync,
} from "node:crypto";

export interface KeyRing {
  readonly repository: Buffer;
  readonly privateKey: Buffer;
  readonly indexKey: Buffer;
  readonly writerSecret: Buffer | undefined;
}

export function parseKeyRing(json: string): KeyRing {
  const fields = JSON.parse(json) as Record<string, string>;
  return {
    repository: Buffer.from(fields["repository"], "hex"),
    privateKey: Buffer.from(fields["privateKey"], "base64"),
    indexKey: Buffer.from(fields["indexKey"], "base64"),
    writerSecret: fields["writerSecret"] === undefined ? undefined : Buffer.from(fields["writerSecret"], "base64"),
  };
}

/** `secret` is a passphrase, or an identity (`AGE-SECRET-KEY-1…`). Undefined where the file is not for it. */
export function openKeyFile(file: Buffer, secret: string): KeyRing | undefined {
  const headerEnd = file.indexOf("\n--- ") + 4;
  const macEnd = file.indexOf("\n", headerEnd);
  const header = file.toString("latin1", 0, headerEnd);
  const fileKey = fileKeyOf(header, secret);
  if (fileKey === undefined) return undefined;

  const mac = createHmac("sha256", hkdf(fileKey, Buffer.alloc(0), "header"))
    .update(header)
    .digest();
  if (!mac.equals(Buffer.from(file.toString("latin1", headerEnd + 1, macEnd), "base64"))) throw new Error("header MAC");

  const payloadKey = hkdf(fileKey, file.subarray(macEnd + 1, macEnd + 17), "payload");
  const lastChunk = Buffer.from("000000000000000000000001", "hex");
  return parseKeyRing(chacha(payloadKey, lastChunk, file.subarray(macEnd + 17))!.toString("utf8"));
}

function fileKeyOf(header: string, secret: string): Buffer | undefined {
  for (const [, line, body] of header.matchAll(/^-> (.*)\n([A-Za-z0-9+/\n]*)\n(?=->|---)/gm)) {
    const [kind, first, second] = line.split(" ");
    const share = Buffer.from(first, "base64");
    let key: Buffer | undefined;
    if (kind === "scrypt") {
      const salt = Buffer.concat([Buffer.from("age-encryption.org/v1/scrypt"), share]);
      key = scryptSync(secret, salt, 32, { N: 2 ** Number(second), r: 8, p: 1, maxmem: 2 ** 31 });
    } else if (kind === "X25519" && secret.startsWith("AGE-SECRET-KEY-1")) {
      key = x25519Key(bech32(secret), share);
    }
    const fileKey = key && chacha(key, Buffer.alloc(12), Buffer.from(body.replaceAll("\n", ""), "base64"));
    if (fileKey !== undefined) return fileKey;
  }
  return undefined;
}

function x25519Key(identity: Buffer, share: Buffer): Buffer {
  const { secret, publicKey } = x25519(identity, share);
  return hkdf(secret, Buffer.concat([share, publicKey]), "age-encryption.org/v1/X25519");
}

/** The shared secret of raw keys, and the public key of the private one. */
export function x25519(privateKey: Buffer, publicKey: Buffer): { secret: Buffer; publicKey: Buffer } {
  const jwk = { kty: "OKP", crv: "X25519" };
  // A private key in JWK needs its public half as well, but DER does not.
  const der = Buffer.concat([Buffer.from("302e020100300506032b656e04220420", "hex"), privateKey]);
  const own = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const other = createPublicKey({ key: { ...jwk, x: publicKey.toString("base64url") }, format: "jwk" });
  const x = createPublicKey(own).export({ format: "jwk" }).x!;
  return { secret: diffieHellman({ privateKey: own, publicKey: other }), publicKey: Buffer.from(x, "base64url") };
}

function hkdf(key: Buffer, salt: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync("sha256", key, salt, info, 32));
}

function chacha(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer | undefined {
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
  decipher.setAuthTag(sealed.subarray(-16));
  const plain = decipher.update(sealed.subarray(0, -16));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
}

/** The bytes of a bech32 text (BIP 173), without its checksum. */
function bech32(text: string): Buffer {
  const data = text.slice(text.lastIndexOf("1") + 1, -6).toLowerCase();
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const char of data) {
    value = ((value << 5) | "qpzry9x8gf2tvdw0s3jn54khce6mua7l".indexOf(char)) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 0xff);
    }
  }
  return Buffer.from(bytes);
}
