import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { tarArchive } from "../../browse/archive/tar.ts";
import { zipArchive } from "../../browse/archive/zip.ts";
import type { SnapshotView } from "../../browse/snapshot-view.ts";
import { messageOf, StorageError, UsageError } from "../../errors.ts";
import type { FileEntry } from "../../format/tree.ts";
import { displayPath } from "../../platform/raw-path.ts";
import type { Invocation } from "../command-spec.ts";
import type { Context } from "../context.ts";
import { openFromSettings } from "../open-repository.ts";
import { rawArgument } from "../raw-argument.ts";
import { openNamedView, requireEntry, withoutSlashes } from "../snapshot-path.ts";
import type { dumpSpec } from "./dump.spec.ts";
import { filterOf } from "./snapshot-filter.ts";

export async function run({ context, args, options }: Invocation<typeof dumpSpec.options>): Promise<number> {
  const { output, signal } = context;
  const [name, pathArgument] = args;
  const repository = await openFromSettings(context);
  const { view } = await openNamedView(repository, name, filterOf(options));
  const path = withoutSlashes(rawArgument(pathArgument));
  const entry = path === "" ? view.top : await requireEntry(view, path, name);
  if (entry.type !== "file" && entry.type !== "directory") {
    throw new UsageError(`/${displayPath(path)} is neither a file nor a folder, and has no content to dump`);
  }
  const isArchive = entry.type === "directory";
  if (isArchive && options.target === undefined && process.stdout.isTTY) {
    throw new UsageError("an archive cannot be shown on a terminal", {
      hint: "send it to a file or a program with > or |",
    });
  }
  const archive = options.archive === "zip" ? zipArchive : tarArchive;
  const chunks = isArchive
    ? archive(view, {
        from: { path, entry },
        onSkipped: (skipped, why) => output.warning(`Warning: /${displayPath(skipped)} is left out: ${why}`),
        signal,
      })
    : contentOf(view, entry, context);
  if (options.target === undefined) for await (const chunk of chunks) await output.bytes(chunk);
  else await writeFile(options.target, chunks);
  return 0;
}

const ZEROS = Buffer.alloc(64 * 1024);

async function* contentOf(view: SnapshotView, file: FileEntry, { signal }: Context): AsyncGenerator<Uint8Array> {
  for await (const piece of view.pieces(file)) {
    signal.throwIfAborted();
    if (piece.kind === "data") {
      yield piece.bytes;
      continue;
    }
    for (let left = piece.lengthBytes; left > 0; left -= ZEROS.length) {
      signal.throwIfAborted();
      yield left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS;
    }
  }
}

async function writeFile(target: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const stream = createWriteStream(target);
  const done = finished(stream);
  // Told at the end of the loop, or by the first write that fails.
  done.catch(() => undefined);
  try {
    for await (const chunk of chunks) {
      if (!stream.write(chunk))
        await Promise.race([new Promise<void>((resolve) => stream.once("drain", () => resolve())), done]);
    }
    stream.end();
    await done;
  } catch (error) {
    stream.destroy();
    if (stream.errored !== null) {
      throw new StorageError(`could not write ${target}: ${messageOf(stream.errored)}`, { cause: error });
    }
    throw error;
  }
}
