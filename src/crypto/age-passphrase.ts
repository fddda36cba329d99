/**
 * Small age files for one passphrase (https://c2sp.org/age: scrypt recipient, a payload of one chunk), on node:crypto.
 *
 * The age-encryption package does all other kinds. It takes 60 ms to load and its scrypt runs for seconds on the main
 * thread; every command opens a key file first, so this one kind is read here, with scrypt on the thread pool.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from "node:crypto";

/** Largest payload: one chunk of age's STREAM. */
export const MAXIMUM_AGE_PAYLOAD_BYTES = 64 * 1024;
/** 2^20: a gibibyte of memory and some seconds. More is refused, as a file may ask for anything. */
export const MAXIMUM_WORK_FACTOR_LOG2 = 20;

/** The file is for no passphrase, or it is not well-formed. */
export class AgeFileError extends Error {
  override readonly name = "AgeFileError";
  /** Whether another kind of key may open it. */
  readonly otherKind: boolean;

  constructor(message: string, otherKind = false) {
    super(message);
    this.otherKind = otherKind;
  }
}

const VERSION_LINE = "age-encryption.org/v1\n";
const TAG_BYTES = 16;
const NONCE_BYTES = 16;
const FILE_KEY_BYTES = 16;

/** `workFactorLog2`: scrypt's N as a power of two; it takes 1 KiB × N of memory. */
export async function encryptWithPassphrase(
  payload: Uint8Array,
  passphrase: string,
  workFactorLog2: number,
): Promise<Buffer> {
  if (payload.length > MAXIMUM_AGE_PAYLOAD_BYTES)
    throw new RangeError(`${payload.length} bytes are more than one chunk`);
  const fileKey = randomBytes(FILE_KEY_BYTES);
  const salt = randomBytes(16);
  const wrapped = chacha(await wrappingKey(passphrase, salt, workFactorLog2), Buffer.alloc(12), fileKey);
  const header = `${VERSION_LINE}-> scrypt ${unpadded(salt)} ${workFactorLog2}\n${unpadded(wrapped)}\n---`;
  const nonce = randomBytes(NONCE_BYTES);
  const sealed = chacha(payloadKey(fileKey, nonce), lastChunkNonce(), payload);
  return Buffer.concat([Buffer.from(`${header} ${unpadded(headerMac(fileKey, header))}\n`), nonce, sealed]);
}

/** Undefined where the passphrase is not the right one. Throws `AgeFileError`. */
export async function decryptWithPassphrase(file: Uint8Array, passphrase: string): Promise<Buffer | undefined> {
  const parts = parse(file);
  if (parts.workFactorLog2 > MAXIMUM_WORK_FACTOR_LOG2) {
    throw new AgeFileError(`it asks for a work factor of 2^${parts.workFactorLog2}; at most 2^20 is allowed`);
  }
  const key = await wrappingKey(passphrase, parts.salt, parts.workFactorLog2);
  const fileKey = chachaOpen(key, Buffer.alloc(12), parts.wrapped);
  if (fileKey === undefined) return undefined;
  if (!timingSafeEqual(headerMac(fileKey, parts.header), parts.mac)) throw new AgeFileError("its header was altered");
  const payload = chachaOpen(payloadKey(fileKey, parts.nonce), lastChunkNonce(), parts.sealed);
  if (payload === undefined) throw new AgeFileError("its payload was altered or cut off");
  return payload;
}

interface AgeParts {
  /** What the MAC is of. */
  readonly header: string;
  readonly salt: Buffer;
  readonly workFactorLog2: number;
  readonly wrapped: Buffer;
  readonly mac: Buffer;
  readonly nonce: Buffer;
  readonly sealed: Buffer;
}

const SCRYPT_FILE =
  /^(age-encryption\.org\/v1\n-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n([A-Za-z0-9+/]{43})\n---) ([A-Za-z0-9+/]{43})\n/;

function parse(file: Uint8Array): AgeParts {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length);
  const start = bytes.toString("latin1", 0, 256);
  if (!start.startsWith(VERSION_LINE)) throw new AgeFileError("it is not an age file");
  if (!start.startsWith(`${VERSION_LINE}-> scrypt `)) throw new AgeFileError("it is not for a passphrase", true);
  const match = SCRYPT_FILE.exec(start);
  if (match === null) throw new AgeFileError("its header is malformed");
  const payload = bytes.subarray(match[0].length);
  if (payload.length < NONCE_BYTES + TAG_BYTES) throw new AgeFileError("it is cut off");
  if (payload.length > NONCE_BYTES + MAXIMUM_AGE_PAYLOAD_BYTES + TAG_BYTES) throw new AgeFileError("it is too long");
  return {
    header: match[1],
    salt: fromUnpadded(match[2]),
    workFactorLog2: Number(match[3]),
    wrapped: fromUnpadded(match[4]),
    mac: fromUnpadded(match[5]),
    nonce: payload.subarray(0, NONCE_BYTES),
    sealed: payload.subarray(NONCE_BYTES),
  };
}

function wrappingKey(passphrase: string, salt: Buffer, workFactorLog2: number): Promise<Buffer> {
  const cost = 2 ** workFactorLog2;
  const labelled = Buffer.concat([Buffer.from("age-encryption.org/v1/scrypt"), salt]);
  // Node counts a little more than the 128 × N × r bytes of the algorithm.
  const options = { N: cost, r: 8, p: 1, maxmem: cost * 1024 + 1024 * 1024 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, labelled, 32, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

function headerMac(fileKey: Buffer, header: string): Buffer {
  return createHmac("sha256", hkdf(fileKey, Buffer.alloc(0), "header"))
    .update(header)
    .digest();
}

function payloadKey(fileKey: Buffer, nonce: Buffer): Buffer {
  return hkdf(fileKey, nonce, "payload");
}

function hkdf(key: Buffer, salt: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync("sha256", key, salt, info, 32));
}

/** The nonce of chunk 0, which is the last. */
function lastChunkNonce(): Buffer {
  const nonce = Buffer.alloc(12);
  nonce[11] = 1;
  return nonce;
}

function chacha(key: Buffer, nonce: Buffer, plain: Uint8Array): Buffer {
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: TAG_BYTES });
  const sealed = [cipher.update(plain), cipher.final()];
  return Buffer.concat([...sealed, cipher.getAuthTag()]);
}

function chachaOpen(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer | undefined {
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
}

function unpadded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replaceAll("=", "");
}

/** Throws where unused bits are set, as age demands. */
function fromUnpadded(text: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (unpadded(bytes) !== text) throw new AgeFileError("its header is malformed");
  return bytes;
}
