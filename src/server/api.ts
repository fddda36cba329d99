/** The administrators' API: JSON over HTTP at a Unix socket that only the server's user can reach. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { z } from "zod";
import { HoldfastError, UsageError, messageOf } from "../errors.ts";
import { socketAddress } from "../platform/socket-address.ts";
import { ROUTES, type AnyRoute, type ApiContext } from "./api-routes.ts";
import type { Log } from "./log.ts";

const MAXIMUM_BODY_BYTES = 1024 * 1024;
const MAXIMUM_CONNECTIONS = 200;

export interface ApiServer {
  close(): Promise<void>;
}

/** The caller must hold the data folder's lock: a socket that lies there is one that a dead server left. */
export async function listenForApi(socket: string, context: ApiContext, log: Log): Promise<ApiServer> {
  rmSync(socket, { force: true });
  const server = createServer((request, response) => void answer(context, request, response, log));
  server.maxConnections = MAXIMUM_CONNECTIONS;
  server.requestTimeout = 60_000;
  const address = socketAddress(socket);
  // Between making and chmod nobody else may connect: the folder is the server's alone as well.
  const mask = process.umask(0o177);
  try {
    await listen(server, address.path);
  } finally {
    process.umask(mask);
  }
  chmodSync(socket, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          address.release();
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

function listen(server: Server, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(socket, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

async function answer(
  context: ApiContext,
  request: IncomingMessage,
  response: ServerResponse,
  log: Log,
): Promise<void> {
  try {
    const url = new URL(request.url ?? "/", "http://localhost");
    const found = findRoute(request.method ?? "GET", url.pathname);
    if (found === undefined) return send(response, 404, { error: { message: `there is no ${url.pathname}` } });
    const query = checked(found.route.query, Object.fromEntries(url.searchParams), "the query");
    const body = checked(found.route.body, await readBody(request), "the request");
    send(response, 200, await found.route.handle(context, { name: found.name, body, query }));
  } catch (error) {
    if (!(error instanceof HoldfastError)) {
      log("error", `a fault of the server: ${messageOf(error)}`, {
        stack: error instanceof Error ? error.stack : undefined,
      });
      return send(response, 500, { error: { message: `a fault of the server: ${messageOf(error)}` } });
    }
    const { code, message, hint } = error;
    send(response, error instanceof UsageError ? 400 : 409, { error: { code, message, hint } });
  }
}

function findRoute(method: string, pathname: string): { route: AnyRoute; name: string } | undefined {
  const parts = pathname.split("/");
  for (const route of ROUTES) {
    const wanted = route.path.split("/");
    if (route.method !== method || wanted.length !== parts.length) continue;
    if (!wanted.every((part, index) => part === ":name" || part === parts[index])) continue;
    const place = wanted.indexOf(":name");
    return { route, name: place < 0 ? "" : decodePart(parts[place]) };
  }
  return undefined;
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new UsageError(`${part} is not a name`);
  }
}

function checked<Value>(type: z.ZodType<Value>, value: unknown, what: string): Value {
  const result = type.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new UsageError(`${what}: ${issue.path.join(".")}${issue.path.length > 0 ? ": " : ""}${issue.message}`);
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAXIMUM_BODY_BYTES) throw new UsageError("the request is too long");
    parts.push(part);
  }
  if (length === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8")) as unknown;
  } catch (cause) {
    throw new UsageError("the request is not JSON", { cause });
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`, "utf8");
  response.writeHead(status, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}
