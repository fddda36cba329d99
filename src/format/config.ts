/** What a repository is (docs/format.md, "config"). */
import { NewerFormatError } from "../errors.ts";
import { parseJsonObject } from "./json.ts";

export const FORMAT_VERSION = 1;

export interface RepositoryConfig {
  /** 16 bytes. */
  readonly id: Buffer;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** X25519, 32 bytes. For people: a writer takes the one in its key ring, and stops where they differ. */
  readonly publicKey: Buffer;
}

export function encodeConfig(config: RepositoryConfig): Buffer {
  const json = {
    format: FORMAT_VERSION,
    id: config.id.toString("hex"),
    created: config.created,
    publicKey: config.publicKey.toString("base64"),
  };
  return Buffer.from(`${JSON.stringify(json, undefined, 2)}\n`, "utf8");
}

/** Throws `NewerFormatError` or `DamagedError`. */
export function decodeConfig(bytes: Uint8Array, what = "config"): RepositoryConfig {
  const fields = parseJsonObject(bytes, what, 64 * 1024);
  const format = fields.count("format");
  if (format > FORMAT_VERSION) {
    throw new NewerFormatError(`the repository has format ${format}; this Holdfast reads up to ${FORMAT_VERSION}`, {
      hint: "update Holdfast on this machine",
    });
  }
  if (format !== FORMAT_VERSION) throw fields.fail("format", `is ${format}, which there never was`);
  const publicKey = fields.base64("publicKey");
  if (publicKey.length !== 32) throw fields.fail("publicKey", "has not 32 bytes");
  return { id: Buffer.from(fields.hex("id", 32), "hex"), created: fields.time("created"), publicKey };
}
