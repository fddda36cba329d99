/** Connections within one process, for tests of both ends at once, or of one end against recorded bytes. */
import { PassThrough, Writable } from "node:stream";
import type { Readable } from "node:stream";
import type { ServerTransport } from "../protocol/server-session.ts";
import type { RemoteProcess } from "../remote-process.ts";

export interface Connection {
  /** The end of whoever started the other one. */
  readonly client: RemoteProcess;
  readonly server: ServerTransport;
  /** What the server said beside the protocol. */
  readonly complaints: () => string;
  /** Tells the client how the server ended. */
  readonly serverEnded: (exitCode: number) => void;
}

export function connect(): Connection {
  const toServer = new PassThrough();
  const toClient = new PassThrough();
  const { stream, text } = collector();
  let ended: (exitCode: number) => void = () => undefined;
  const exited = new Promise<number>((resolve) => (ended = resolve));
  return {
    client: {
      transport: { input: toClient, output: toServer },
      exited,
      startError: () => undefined,
      complaints: text,
      onComplaint: () => undefined,
      hearOut: () => Promise.resolve(),
      kill: () => void toServer.destroy(),
    },
    server: { input: toServer, output: toClient, complaints: stream },
    complaints: text,
    serverEnded: ended,
  };
}

/**
 * Says one part after another, each when the other side has become quiet after the one before: as a peer does that
 * answers, but whatever it is told.
 */
function saying(parts: readonly Buffer[]): { readonly input: PassThrough; readonly output: Writable } {
  const input = new PassThrough();
  let heard = 0;
  const output = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      heard += chunk.length;
      done();
    },
  });
  void (async () => {
    for (const part of parts) {
      for (let before = -1; before !== heard;) {
        before = heard;
        await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
      }
      if (input.destroyed) return;
      input.write(part);
    }
    input.end();
  })();
  return { input, output };
}

const QUIET_MS = 1;

/** A server that says these things, whatever it is told. */
export function serverSaying(...parts: readonly Buffer[]): RemoteProcess {
  return {
    transport: saying(parts),
    exited: Promise.resolve(0),
    startError: () => undefined,
    complaints: () => "",
    onComplaint: () => undefined,
    hearOut: () => Promise.resolve(),
    kill: () => undefined,
  };
}

/** A client that says these things, whatever it is told. */
export function clientSaying(...parts: readonly Buffer[]): ServerTransport {
  return { ...saying(parts), complaints: new Writable({ write: (_chunk, _encoding, done) => done() }) };
}

/** Remembers what goes through a stream to its reader, as it came. */
export function record(stream: Readable): readonly Buffer[] {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(Buffer.from(chunk)));
  return chunks;
}

function collector(): { readonly stream: Writable; readonly text: () => string } {
  let text = "";
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString("utf8");
      done();
    },
  });
  return { stream, text: () => text };
}
