import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { atEnd } from "./at-end.ts";
import type { Cleanup } from "./at-end.ts";

/** Bytes that may be on the line each way, as in a router's queue. */
const LINE_BYTES = 16 * 1024 * 1024;

export interface DelayingProxy {
  readonly port: number;
  /** That went through, by the end that sent them. */
  readonly traffic: { toServer: number; toClient: number };
}

/**
 * A port of loopback that leads to another, and takes this long each way: a long line, where the kernel has no netem. Each
 * way carries `bytesPerSecond`, over all connections.
 */
export async function startDelayingProxy(
  t: Cleanup,
  toPort: number,
  delayMs: number,
  bytesPerSecond = Infinity,
): Promise<DelayingProxy> {
  const lanes = [createLane(delayMs, bytesPerSecond), createLane(delayMs, bytesPerSecond)];
  const sockets = new Set<Socket>();
  const traffic = { toServer: 0, toClient: 0 };
  const server = createServer((client) => {
    const target = connect(toPort, "127.0.0.1");
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    carry(client, target, lanes[0], (bytes) => (traffic.toServer += bytes));
    carry(target, client, lanes[1], (bytes) => (traffic.toClient += bytes));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, traffic };
}

/** One way of the line. */
interface Lane {
  /** Does this when so many bytes, put onto the line now, have come out; in the order of calls. */
  readonly carry: (bytes: number, arrive: () => void) => void;
}

function createLane(delayMs: number, bytesPerSecond: number): Lane {
  const waiting: { readonly dueMs: number; readonly arrive: () => void }[] = [];
  let freeAtMs = 0;
  let timer: NodeJS.Timeout | undefined;

  function deliver(): void {
    timer = undefined;
    while (waiting.length > 0 && waiting[0].dueMs <= performance.now()) waiting.shift()!.arrive();
    if (waiting.length > 0) timer ??= setTimeout(deliver, Math.max(0, waiting[0].dueMs - performance.now()));
  }

  return {
    carry(bytes, arrive) {
      freeAtMs = Math.max(freeAtMs, performance.now()) + (bytes / bytesPerSecond) * 1000;
      waiting.push({ dueMs: freeAtMs + delayMs, arrive });
      timer ??= setTimeout(deliver, freeAtMs + delayMs - performance.now());
    },
  };
}

function carry(from: Socket, to: Socket, lane: Lane, count: (bytes: number) => void): void {
  let onLine = 0;
  from.on("data", (chunk: Buffer) => {
    count(chunk.length);
    onLine += chunk.length;
    if (onLine > LINE_BYTES) from.pause();
    lane.carry(chunk.length, () => {
      onLine -= chunk.length;
      if (!to.destroyed) to.write(chunk);
      if (onLine <= LINE_BYTES) from.resume();
    });
  });
  from.on("end", () => lane.carry(0, () => void to.end()));
  from.on("close", () => lane.carry(0, () => setTimeout(() => to.destroy(), 50)));
}
