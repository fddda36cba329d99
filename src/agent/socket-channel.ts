import { connect } from "node:net";
import { Readable } from "node:stream";
import { ConnectionError } from "../errors.ts";
import { dataFile } from "../fleet/data-folder.ts";
import { socketAddress, type SocketAddress } from "../platform/socket-address.ts";
import type { ByteChannel } from "../wire/connection.ts";

/**
 * Connects to a server of the same machine and user, without ssh: says itself what `holdfast serve` says for hosts that
 * sshd let in. The channel breaks with a `ConnectionError` where no server is there.
 */
export function openSocketChannel(dataFolder: string, host: string): ByteChannel {
  const noServer = (cause: unknown): ConnectionError =>
    new ConnectionError(`the server of ${dataFolder} does not answer`, {
      hint: `start it: holdfast server --data ${dataFolder}`,
      cause,
    });
  const address = addressOf(dataFolder, noServer);
  const socket = connect(address.path);
  socket.once("close", address.release);
  // Whoever reads notices.
  socket.on("error", () => undefined);
  socket.write(`${JSON.stringify({ host, from: "this machine" })}\n`);

  async function* output(): AsyncGenerator<Buffer> {
    try {
      yield* socket as AsyncIterable<Buffer>;
    } catch (cause) {
      throw noServer(cause);
    }
  }

  const input = Readable.from(output(), { objectMode: false });
  return {
    input,
    output: socket,
    destroy: () => {
      socket.destroy();
      input.destroy();
    },
  };
}

function addressOf(dataFolder: string, noServer: (cause: unknown) => ConnectionError): SocketAddress {
  try {
    return socketAddress(dataFile.hostSocket(dataFolder));
  } catch (cause) {
    throw noServer(cause);
  }
}
