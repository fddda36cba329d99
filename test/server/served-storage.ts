/** A server for tests that serves a storage as it is, without anybody's rules, over channels in memory. */
import { createAnswerer } from "../../src/server/host-session.ts";
import { openIncomingUploads } from "../../src/server/incoming-uploads.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type ByteChannel, openConnection } from "../../src/wire/connection.ts";
import { encodeHello, VERSION } from "../../src/wire/hello.ts";
import { answerRequests } from "../../src/wire/requests.ts";
import { channelPair } from "../../src/wire/testing/channel-pair.ts";

export interface ServedStorageServer {
  readonly connect: () => ByteChannel;
  /** Breaks all connections. */
  readonly cut: () => void;
  /** Requests answered so far, by method. */
  readonly requests: number[];
}

export async function serveStorage(storage: Storage, uploadFolder: string): Promise<ServedStorageServer> {
  const uploads = await openIncomingUploads(uploadFolder);
  const cuts = new Set<() => void>();
  const requests: number[] = [];

  async function serve(channel: ByteChannel): Promise<void> {
    const connection = openConnection(channel);
    const messages = connection.messages();
    await messages.next();
    const now = Date.now();
    const hello = { version: VERSION, program: "test", host: "web1", ticket: "t", startedMs: now, nowMs: now };
    connection.send({ kind: "hello", json: encodeHello(hello) });
    const answer = createAnswerer(storage, { host: "web1", uploads });
    await answerRequests(connection, messages, (request) => {
      requests.push(request.method);
      return answer(request);
    });
  }

  return {
    requests,
    cut: () => {
      for (const cut of cuts) cut();
      cuts.clear();
    },
    connect() {
      const { agent, server, cut } = channelPair();
      cuts.add(cut);
      serve(server).catch(() => undefined);
      return agent;
    },
  };
}
