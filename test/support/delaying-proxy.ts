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

/** A port of loopback that leads to another, and takes this long each way: a long line, where the kernel has no netem. */
export async function startDelayingProxy(t: Cleanup, toPort: number, delayMs: number): Promise<DelayingProxy> {
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
    carry(client, target, delayMs, (bytes) => (traffic.toServer += bytes));
    carry(target, client, delayMs, (bytes) => (traffic.toClient += bytes));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, traffic };
}

function carry(from: Socket, to: Socket, delayMs: number, count: (bytes: number) => void): void {
  let onLine = 0;
  from.on("data", (chunk: Buffer) => {
    count(chunk.length);
    onLine += chunk.length;
    if (onLine > LINE_BYTES) from.pause();
    setTimeout(() => {
      onLine -= chunk.length;
      if (!to.destroyed) to.write(chunk);
      if (onLine <= LINE_BYTES) from.resume();
    }, delayMs);
  });
  from.on("end", () => setTimeout(() => to.end(), delayMs));
  from.on("close", () => setTimeout(() => to.destroy(), delayMs + 50));
}
