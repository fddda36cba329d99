import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { atEnd } from "../support/at-end.ts";
import type { Cleanup } from "../support/at-end.ts";

/** What goes wrong with one request. */
export interface Mishap {
  /** The connection breaks: before anything is done, or after the request was carried out. */
  readonly breakOff?: "before" | "after";
  /** The server answers with this and does nothing. */
  readonly answer?: { readonly status: number; readonly body?: string };
  /** The answer's body stops after so many bytes. */
  readonly cutAnswerAfterBytes?: number;
}

export interface S3Server {
  /** `http://127.0.0.1:port` */
  readonly endpoint: string;
  /** Asked at each request what is to happen to it. */
  mishap: (method: string) => Mishap | undefined;
  /** Method and path of every request so far. */
  readonly requests: string[];
  /** Whether "If-None-Match: *" with PUT is kept, refused (501) or ignored, as by older servers. */
  conditions: "kept" | "refused" | "ignored";
}

export const S3_TEST_KEY = { accessKeyId: "test-key", secretAccessKey: "test-secret" } as const;

interface Stored {
  readonly bytes: Buffer;
  readonly modified: Date;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: Buffer | string;
}

const MOST_KEYS_A_PAGE = 1000;

/**
 * As much of S3 as storage needs, in memory, on loopback until the test ends: written from Amazon's API reference, and
 * checking every signature and checksum by itself. (s3rver has neither conditional writes nor, on a current Node,
 * lists of more than one page.) `ceph.test.ts` tries the same with a real one.
 */
export async function startS3Server(t: Cleanup): Promise<S3Server> {
  const buckets = new Map<string, Map<string, Stored>>();
  const listener = createServer((incoming, outgoing) => {
    serve(incoming, outgoing).catch((error: unknown) => outgoing.writeHead(500).end(String(error)));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  atEnd(t, () => {
    listener.close();
    listener.closeAllConnections();
  });

  const server: S3Server = {
    endpoint: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    mishap: () => undefined,
    requests: [],
    conditions: "kept",
  };

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = incoming;
    const mishap = server.mishap(method) ?? {};
    server.requests.push(`${method} ${url}`);
    if (mishap.breakOff === "before") return void incoming.socket.destroy();
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const content = Buffer.concat(chunks);
    const asked = new URL(url, server.endpoint);
    const answer =
      mishap.answer ?? refusalOf(method, asked, headers, content) ?? answerTo(method, asked, headers, content);
    if (mishap.breakOff === "after") return void incoming.socket.destroy();
    const body = Buffer.from(answer.body ?? "");
    outgoing.writeHead(answer.status, {
      "content-length": body.length,
      ...("headers" in answer ? answer.headers : {}),
    });
    if (mishap.cutAnswerAfterBytes === undefined) return void outgoing.end(method === "HEAD" ? undefined : body);
    outgoing.write(body.subarray(0, mishap.cutAnswerAfterBytes));
    setTimeout(() => incoming.socket.destroy(), 20);
  }

  function answerTo(method: string, asked: URL, headers: IncomingMessage["headers"], content: Buffer): Answer {
    const [, bucketName, ...rest] = decodeURIComponent(asked.pathname).split("/");
    const key = rest.join("/");
    const bucket = buckets.get(bucketName);
    if (bucket === undefined) {
      if (method !== "PUT" || key !== "") return refusal(404, "NoSuchBucket");
      buckets.set(bucketName, new Map());
      return { status: 200 };
    }
    if (key === "") return method === "GET" ? listPage(bucket, asked.searchParams) : refusal(405, "MethodNotAllowed");
    const stored = bucket.get(key);
    switch (method) {
      case "PUT":
        if (headers["if-none-match"] === "*" && server.conditions === "refused") return refusal(501, "NotImplemented");
        if (headers["if-none-match"] === "*" && server.conditions === "kept" && stored !== undefined) {
          return refusal(412, "PreconditionFailed");
        }
        bucket.set(key, { bytes: content, modified: new Date() });
        return { status: 200 };
      case "DELETE":
        bucket.delete(key);
        return { status: 204 };
      default:
        return stored === undefined ? refusal(404, "NoSuchKey") : contentOf(stored, headers.range);
    }
  }

  return server;
}

function contentOf({ bytes, modified }: Stored, range: string | undefined): Answer {
  const headers = { "last-modified": modified.toUTCString(), "content-length": bytes.length };
  if (range === undefined) return { status: 200, headers, body: bytes };
  const [, first, last] = (/^bytes=(\d+)-(\d+)$/.exec(range) ?? []).map(Number);
  if (first >= bytes.length) return refusal(416, "InvalidRange");
  const part = bytes.subarray(first, last + 1);
  return { status: 206, headers: { ...headers, "content-length": part.length }, body: part };
}

function listPage(bucket: ReadonlyMap<string, Stored>, query: URLSearchParams): Answer {
  if (query.get("list-type") !== "2") return refusal(501, "NotImplemented");
  const after = Buffer.from(query.get("continuation-token") ?? "", "base64").toString();
  const prefix = query.get("prefix") ?? "";
  const keys = [...bucket.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
  const page = keys.slice(0, Math.min(Number(query.get("max-keys") ?? MOST_KEYS_A_PAGE), MOST_KEYS_A_PAGE));
  const contents = page.map((key) => {
    const { bytes, modified } = bucket.get(key)!;
    const time = modified.toISOString();
    return `<Contents><Key>${key}</Key><LastModified>${time}</LastModified><Size>${bytes.length}</Size></Contents>`;
  });
  const truncated = page.length < keys.length;
  const next = Buffer.from(page.at(-1) ?? "").toString("base64");
  const body = [
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    `<IsTruncated>${truncated}</IsTruncated>`,
    ...contents,
    truncated ? `<NextContinuationToken>${next}</NextContinuationToken>` : "",
    "</ListBucketResult>",
  ];
  return { status: 200, body: body.join("") };
}

function refusal(status: number, code: string): Answer {
  return { status, body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Refused.</Message></Error>` };
}

/** What is wrong with the signature (AWS signature version 4) or with a checksum. */
function refusalOf(
  method: string,
  asked: URL,
  headers: IncomingMessage["headers"],
  content: Buffer,
): Answer | undefined {
  const [, key, scope, signedNames, signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/([^,]+), SignedHeaders=([^,]+), Signature=(\w+)$/.exec(
      headers.authorization ?? "",
    ) ?? [];
  if (key === undefined) return refusal(403, "AccessDenied");
  if (key !== S3_TEST_KEY.accessKeyId) return refusal(403, "InvalidAccessKeyId");
  const time = String(headers["x-amz-date"]);
  const [date, region, service, terminator] = scope.split("/");
  const names = signedNames.split(";");
  const mustBeSigned = Object.keys(headers).filter((name) => name.startsWith("x-amz-") || name === "if-none-match");
  if (!["host", ...mustBeSigned].every((name) => names.includes(name))) return refusal(403, "AccessDenied");
  const query = [...asked.searchParams].map(([name, value]) => `${uriEncoded(name)}=${uriEncoded(value)}`).sort();
  const canonical = [
    method,
    asked.pathname,
    query.join("&"),
    ...names.map((name) => `${name}:${String(headers[name]).trim()}`),
    "",
    signedNames,
    headers["x-amz-content-sha256"],
  ].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical).toString("hex")].join("\n");
  const secret = `AWS4${S3_TEST_KEY.secretAccessKey}`;
  const signingKey = [date, region, service, terminator].reduce<string | Buffer>(hmac, secret);
  if (hmac(signingKey, toSign).toString("hex") !== signature) return refusal(403, "SignatureDoesNotMatch");
  if (sha256(content).toString("hex") !== headers["x-amz-content-sha256"]) {
    return refusal(400, "XAmzContentSHA256Mismatch");
  }
  const checksum = headers["x-amz-checksum-sha256"];
  if (checksum !== undefined && checksum !== sha256(content).toString("base64")) return refusal(400, "BadDigest");
  return undefined;
}

function uriEncoded(value: string): string {
  return encodeURIComponent(value).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function sha256(content: string | Buffer): Buffer {
  return createHash("sha256").update(content).digest();
}

function hmac(key: string | Buffer, content: string): Buffer {
  return createHmac("sha256", key).update(content).digest();
}
