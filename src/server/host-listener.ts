/**
 * Where hosts come in: a Unix socket that only the server's own user can open. sshd has proven which host it is, and
 * `holdfast serve` says so in a line before the host's first byte.
 */
import { chmod, rm, stat } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { once } from "node:events";
import { BusyError, errnoOf, LockedError, ProtocolError } from "../errors.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { socketAddress } from "../platform/socket-address.ts";
import { type Connection, type ConnectionOptions, openConnection } from "../wire/connection.ts";
import { type HostSessionOptions, serveHost } from "./host-session.ts";

export interface HostListenerOptions extends HostSessionOptions, ConnectionOptions {
  /** In a folder of its own, which is made for the server's user alone. */
  readonly socketPath: string;
  readonly maximumConnections?: number;
  readonly maximumPerHost?: number;
  /** How long `holdfast serve` may take for its line. */
  readonly headerMs?: number;
  /** Told of each connection that is let in or turned away. */
  readonly onConnection?: (host: string, from: string, refused: string | undefined) => void;
}

export interface HostListener {
  /** Connections that are served now. */
  readonly connections: number;
  /** Lets nobody in any more, and ends all connections. */
  close(): Promise<void>;
}

const MAXIMUM_CONNECTIONS = 512;
const MAXIMUM_PER_HOST = 4;
const HEADER_MS = 5000;
const MAXIMUM_HEADER_BYTES = 1024;

/** Throws `LockedError` where another server listens there. */
export async function listenForHosts(options: HostListenerOptions): Promise<HostListener> {
  const { socketPath, headerMs = HEADER_MS } = options;
  const maximumConnections = options.maximumConnections ?? MAXIMUM_CONNECTIONS;
  const maximumPerHost = options.maximumPerHost ?? MAXIMUM_PER_HOST;
  const sockets = new Set<Socket>();
  const perHost = new Map<string, number>();
  const served = new Map<Connection, Promise<void>>();

  async function welcome(socket: Socket): Promise<void> {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // Whoever reads notices.
    socket.on("error", () => undefined);
    const header = await receiveHeader(socket, headerMs);
    if (header === undefined) return void socket.destroy();
    const connection = openConnection({ input: socket, output: socket, destroy: () => socket.destroy() }, options);
    const already = perHost.get(header.host) ?? 0;
    const refusal = refusalOf(already);
    options.onConnection?.(header.host, header.from, refusal?.message);
    if (refusal !== undefined) return connection.close(refusal);
    perHost.set(header.host, already + 1);
    const work = serveHost(connection, header.host, options);
    served.set(connection, work);
    await work;
    served.delete(connection);
    const left = perHost.get(header.host)! - 1;
    if (left === 0) perHost.delete(header.host);
    else perHost.set(header.host, left);
  }

  function refusalOf(already: number): BusyError | undefined {
    if (sockets.size > maximumConnections) {
      return new BusyError(`the server has ${maximumConnections} connections already`, { hint: "try again later" });
    }
    if (already < maximumPerHost) return undefined;
    return new BusyError(`this host has ${already} connections to the server already`);
  }

  makeFolder(dirname(socketPath));
  const address = socketAddress(socketPath);
  await removeStaleSocket(socketPath, address.path);
  const server = createServer((socket) => {
    // Far beyond the limit not even a reason is given: that would take memory too.
    if (sockets.size >= maximumConnections * 2) socket.destroy();
    else void welcome(socket).catch((error: unknown) => options.onFault?.(error));
  });
  server.listen({ path: address.path, backlog: 1024 });
  await once(server, "listening");
  await chmod(socketPath, 0o600);

  return {
    get connections() {
      return served.size;
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const connection of served.keys()) connection.close(new BusyError("the server is stopping"));
      await Promise.race([Promise.all(served.values()), later(CLOSE_MS)]);
      for (const socket of sockets) socket.destroy();
      await closed;
      address.release();
    },
  };
}

const CLOSE_MS = 10_000;

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

/** One that nobody listens at was left by a server that was killed. */
async function removeStaleSocket(socketPath: string, address: string): Promise<void> {
  const found = await stat(socketPath).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new LockedError(`${socketPath} is there, and is no socket`, { hint: "remove it" });
  const probe = connect(address);
  try {
    await once(probe, "connect");
  } catch (error) {
    if (errnoOf(error) !== "ECONNREFUSED" && errnoOf(error) !== "ENOENT") throw error;
    await rm(socketPath, { force: true });
    return;
  } finally {
    probe.destroy();
  }
  throw new LockedError(`a server is listening at ${socketPath} already`, { hint: "stop it first" });
}

export interface HostHeader {
  readonly host: string;
  /** SSH_CONNECTION, for logs. */
  readonly from: string;
}

export function encodeHostHeader(header: HostHeader): string {
  return `${JSON.stringify(header)}\n`;
}

/** Exported for its tests. Throws `ProtocolError`. */
export function decodeHostHeader(line: Uint8Array): HostHeader {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(line).toString("utf8"));
  } catch {
    throw new ProtocolError("the line before a host's connection is not JSON");
  }
  const { host, from } = (value ?? {}) as Partial<HostHeader>;
  if (typeof host !== "string" || typeof from !== "string") {
    throw new ProtocolError("the line before a host's connection names no host");
  }
  return { host, from };
}

/** Undefined where none comes in time. What follows the line stays to be read. */
async function receiveHeader(socket: Socket, headerMs: number): Promise<HostHeader | undefined> {
  const timer = setTimeout(() => socket.destroy(), headerMs);
  let line = Buffer.alloc(0);
  try {
    while (line.length <= MAXIMUM_HEADER_BYTES) {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) {
        if (socket.destroyed || socket.readableEnded) return undefined;
        await once(socket, "readable", { signal: AbortSignal.timeout(headerMs) });
        // Also told of the end of a stream.
        if (socket.readableLength === 0) return undefined;
        continue;
      }
      const end = chunk.indexOf(0x0a);
      line = Buffer.concat([line, end < 0 ? chunk : chunk.subarray(0, end)]);
      if (end < 0) continue;
      socket.unshift(chunk.subarray(end + 1));
      return decodeHostHeader(line);
    }
    return undefined;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
