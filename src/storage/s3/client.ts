import { createHash } from "node:crypto";
import { request as httpRequest, Agent as HttpAgent } from "node:http";
import type { IncomingMessage, RequestOptions } from "node:http";
import { request as httpsRequest, Agent as HttpsAgent } from "node:https";
import { setTimeout as wait } from "node:timers/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { AwsV4Signer } from "aws4fetch";
import { HoldfastError, messageOf, StorageError } from "../../errors.ts";
import { pacedContent, type Pace } from "../pace.ts";
import { elementOf } from "./list-page.ts";

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
}

export interface S3Request {
  readonly method: "GET" | "HEAD" | "PUT" | "DELETE";
  /** Below the endpoint, from its slash on, already escaped. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: readonly Uint8Array[];
  /** Has the server keep the body's checksum, which buckets that lock objects (WORM) insist on. */
  readonly withChecksum?: boolean;
}

export interface S3Response {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** An answer that says no. `code` of S3, such as `NoSuchKey`, is in `s3Code`. */
export class S3Refusal extends StorageError {
  readonly status: number;
  readonly s3Code: string;

  constructor(status: number, s3Code: string, message: string, hint: string | undefined) {
    super(message, { hint });
    this.status = status;
    this.s3Code = s3Code;
  }
}

export interface S3Client {
  /**
   * Sends a request until it is answered with success, but no more than `mostTries` times. Throws `S3Refusal` where the server says no, and `StorageError`
   * where it cannot be reached or is overloaded for long.
   */
  send(request: S3Request, mostTries?: number): Promise<S3Response>;
  close(): void;
}

export interface S3ClientOptions {
  /** `https://host:port` */
  readonly endpoint: URL;
  readonly region: string;
  readonly credentials: S3Credentials;
  /** How long is waited before each try after the first, in ms. */
  readonly retryDelaysMs: readonly number[];
  readonly pace?: Pace | undefined;
}

/** A server that says nothing for so long is asked again. */
const SILENCE_MS = 60_000;
const MOST_SOCKETS = 32;

const RETRIED_STATUS = new Set([408, 429, 500, 502, 503, 504]);
/** Codes that come with status 400 or 409, and are over by themselves. */
const RETRIED_CODES = new Set(["RequestTimeout", "SlowDown", "ConditionalRequestConflict", "OperationAborted"]);

/** Speaks S3 with one endpoint: signs each request (AWS signature version 4), and sends it again where that may help. */
export function s3Client({ endpoint, region, credentials, retryDelaysMs, pace }: S3ClientOptions): S3Client {
  const secure = endpoint.protocol === "https:";
  // proxyEnv: HTTPS_PROXY and NO_PROXY count, as with other tools.
  const agentOptions = { keepAlive: true, maxSockets: MOST_SOCKETS, proxyEnv: process.env };
  const agent = secure ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions);
  let usedRegion = region;

  async function send(request: S3Request, mostTries = Infinity): Promise<S3Response> {
    const bodySha256 = sha256(request.body ?? []);
    const delaysMs = retryDelaysMs.slice(0, mostTries - 1);
    for (let tries = 0; ; tries++) {
      const last = tries === delaysMs.length;
      try {
        const response = await sendOnce(request, bodySha256);
        if (response.status < 300) return response;
        const refusal = refusalIn(response, endpoint);
        if (last || !isPassing(refusal, response)) throw refusal;
      } catch (error) {
        if (error instanceof HoldfastError) throw error;
        if (last) throw unreachable(endpoint, error);
      }
      // A little at random, so that many clients do not come back at the same moment.
      await wait(delaysMs[tries] * (0.75 + Math.random() / 2));
    }
  }

  /** Whether the same request may succeed later; or now, in the region that the server has just told. */
  function isPassing({ status, s3Code }: S3Refusal, { headers, body }: S3Response): boolean {
    const told = headers["x-amz-bucket-region"] ?? elementOf(body.subarray(0, 65_536).toString("utf8"), "Region");
    if (status === 400 && typeof told === "string" && told !== usedRegion) {
      usedRegion = told;
      return true;
    }
    return RETRIED_STATUS.has(status) || RETRIED_CODES.has(s3Code);
  }

  async function sendOnce(request: S3Request, bodySha256: Buffer): Promise<S3Response> {
    const { method, path, query, headers, body, withChecksum } = request;
    const url = new URL(endpoint.origin + path);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const signed = await new AwsV4Signer({
      ...credentials,
      method,
      url: url.href,
      headers: {
        ...headers,
        ...(withChecksum ? { "x-amz-checksum-sha256": bodySha256.toString("base64") } : {}),
        "x-amz-content-sha256": bodySha256.toString("hex"),
      },
      service: "s3",
      region: usedRegion,
    }).sign();
    const lengthBytes = (body ?? []).reduce((sum, piece) => sum + piece.byteLength, 0);
    const requestOptions = {
      method,
      agent,
      timeout: SILENCE_MS,
      headers: {
        ...Object.fromEntries(signed.headers),
        ...(method === "PUT" ? { "content-length": lengthBytes } : {}),
      },
    };
    return exchange(secure ? httpsRequest : httpRequest, signed.url, body ?? [], requestOptions, pace);
  }

  return { send, close: () => agent.destroy() };
}

/** One request and its whole answer. Rejects where the connection fails before that is there. */
function exchange(
  request: typeof httpRequest,
  url: URL,
  body: readonly Uint8Array[],
  options: RequestOptions,
  pace: Pace | undefined,
): Promise<S3Response> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        if (pace === undefined) return;
        incoming.pause();
        pace.download.take(chunk.length).then(() => incoming.resume(), reject);
      });
      incoming.on("error", reject);
      incoming.on("end", () => {
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) });
      });
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error("the server does not answer")));
    outgoing.on("error", reject);
    if (pace !== undefined && body.length > 0) {
      pipeline(Readable.from(pacedContent(body, pace.upload)), outgoing).catch(reject);
      return;
    }
    for (const piece of body) outgoing.write(piece);
    outgoing.end();
  });
}

function sha256(pieces: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

const CODE_OF_STATUS: ReadonlyMap<number, string> = new Map([
  [403, "AccessDenied"],
  [404, "NoSuchKey"],
  [412, "PreconditionFailed"],
  [416, "InvalidRange"],
]);

const HINTS: Readonly<Record<string, string>> = {
  AccessDenied: "the key needs the right to list, read, write and delete objects of this bucket",
  InvalidAccessKeyId: "look at AWS_ACCESS_KEY_ID",
  SignatureDoesNotMatch: "look at AWS_SECRET_ACCESS_KEY",
  RequestTimeTooSkewed: "the clock of this machine is wrong: see timedatectl",
  ExpiredToken: "the session (AWS_SESSION_TOKEN) has ended: get a new one",
  PermanentRedirect: "the bucket is in another region: use the endpoint of that region",
  QuotaExceeded: 'raise the quota, or run "holdfast prune"',
};

function refusalIn({ status, body }: S3Response, endpoint: URL): S3Refusal {
  const xml = body.subarray(0, 65_536).toString("utf8");
  // An answer to HEAD has no body.
  const code = elementOf(xml, "Code") ?? CODE_OF_STATUS.get(status) ?? `HTTP status ${status}`;
  const message = elementOf(xml, "Message")
    ?.replace(/[^\x20-\x7e]/g, "?")
    .slice(0, 300);
  const where = elementOf(xml, "Endpoint");
  const what = [code, message, where].filter((part) => part !== undefined && part !== "").join(": ");
  return new S3Refusal(status, code, `${endpoint.host} answered ${what}`, HINTS[code]);
}

function unreachable(endpoint: URL, error: unknown): StorageError {
  // Where a host has several addresses, the message of the whole is empty.
  const reason = error instanceof AggregateError ? error.errors.map(messageOf).join(", ") : messageOf(error);
  return new StorageError(`${endpoint.origin} cannot be reached: ${reason}`, {
    hint: "is the address right, and the network up?",
    cause: error,
  });
}
