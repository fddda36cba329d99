/**
 * What a server would start for a host's key: the door for a stock rsync, both ways, onto one local repository. Its
 * arguments: repository, password, folder for caches, name of the host.
 */
import { savePush } from "../../../src/backup/save-push.ts";
import { repositoryShelf } from "../../../src/browse/rsync/repository-shelf.ts";
import { serveFetch } from "../../../src/browse/rsync/serve-fetch.ts";
import { generateSigningKey } from "../../../src/crypto/signing.ts";
import { rawEnvironment } from "../../../src/platform/raw-environment.ts";
import { openRepository } from "../../../src/repository/repository.ts";
import { openStorage } from "../../../src/storage/open.ts";

// Clients kill what they started with signals that mean something else to Node.
process.on("SIGUSR1", () => process.exit(19));
const [place, passphrase, cacheDirectory, host] = process.argv.slice(2);
const command = rawEnvironment("SSH_ORIGINAL_COMMAND") ?? "";
const repository = await openRepository(await openStorage(place), { passphrase });
const transport = { input: process.stdin, output: process.stdout, complaints: process.stderr };

process.exitCode = /^\S+ --server --sender /.test(command)
  ? await serveFetch(transport, command, repositoryShelf(repository, { hosts: [host] }))
  : await savePush({
      transport,
      command,
      repository,
      host,
      tags: [],
      user: "tester",
      program: "test",
      signingKey: generateSigningKey(),
      compression: "auto",
      cacheDirectory,
      onProblem: ({ path, error }) => process.stderr.write(`problem: ${path}: ${String(error)}\n`),
    });
process.stdin.destroy();
