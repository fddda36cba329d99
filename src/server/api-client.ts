/** The client's side of the API. */
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { ConnectionError, errnoOf, HoldfastError, messageOf, UsageError } from "../errors.ts";
import { socketAddress } from "../platform/socket-address.ts";

export interface ApiClient {
  /** Throws the server's own error, or `ConnectionError` where there is no server. */
  call<Answer>(method: string, path: string, body?: unknown): Promise<Answer>;
}

export function createApiClient(socketPath: string): ApiClient {
  return {
    call: (method, path, body) => callOnce(socketPath, method, path, body),
  };
}

/** `/v1/hosts/web?limit=3`, with all parts made safe. Values that are undefined are left out. */
export function apiPath(
  parts: readonly string[],
  query: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const given = Object.entries(query).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]]));
  const search = given.length === 0 ? "" : `?${new URLSearchParams(given as [string, string][]).toString()}`;
  return `/v1/${parts.map(encodeURIComponent).join("/")}${search}`;
}

async function callOnce<Answer>(socketPath: string, method: string, path: string, body: unknown): Promise<Answer> {
  const { status, answer } = await exchange(socketPath, method, path, body);
  let value: unknown;
  try {
    value = JSON.parse(answer);
  } catch (cause) {
    throw new ConnectionError(`what listens at ${socketPath} is no Holdfast server`, { cause });
  }
  if (status === 200) return value as Answer;
  const { error } = value as { error: { message: string; hint?: string } };
  const details = error.hint === undefined ? {} : { hint: error.hint };
  throw status === 400 ? new UsageError(error.message, details) : new HoldfastError(error.message, details);
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; answer: string }> {
  return new Promise((resolve, reject) => {
    const sent = body === undefined ? undefined : Buffer.from(JSON.stringify(body), "utf8");
    const headers = sent === undefined ? {} : { "content-type": "application/json", "content-length": sent.length };
    const address = socketAddress(socketPath);
    const outgoing = request({ socketPath: address.path, method, path, headers, agent: false }, (response) => {
      text(response).then((answer) => resolve({ status: response.statusCode ?? 0, answer }), reject);
    });
    outgoing.on("error", (cause) => reject(unreachable(socketPath, cause)));
    outgoing.on("close", address.release);
    outgoing.end(sent);
  });
}

function unreachable(socketPath: string, cause: unknown): HoldfastError {
  const code = errnoOf(cause);
  if (code === "EACCES") {
    return new ConnectionError(`you may not use the server at ${socketPath}`, {
      hint: "run this as root or as the server's user",
      cause,
    });
  }
  const why = code === "ENOENT" || code === "ECONNREFUSED" ? "" : ` (${messageOf(cause)})`;
  return new ConnectionError(`no server listens at ${socketPath}${why}`, {
    hint: 'start one with "holdfast server", or name its data folder with --data',
    cause,
  });
}
