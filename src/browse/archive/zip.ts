import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { ZipFile } from "yazl";
import { displayPath, rawPathToBytes, type RawPath } from "../../platform/raw-path.ts";
import type { FileEntry, TreeEntry } from "../../format/tree.ts";
import type { SnapshotView } from "../snapshot-view.ts";
import { walk } from "../walk.ts";
import type { ArchiveOptions } from "./tar.ts";

/**
 * A zip archive (zip64 where needed) of a snapshot: for people on other systems. It holds content, names, permissions
 * and times to the second; owners, extended attributes, holes and hard links are lost, devices, FIFOs and sockets left
 * out. Names that zip cannot hold (backslashes, control characters, bytes that are not UTF-8) are escaped, with `⧵` for
 * the backslash. Errors: as the view's; the archive then ends without a directory, which no program takes for a whole one.
 */
export async function* zipArchive(view: SnapshotView, options: ArchiveOptions = {}): AsyncGenerator<Uint8Array> {
  const zip = new ZipFile();
  const output = zip.outputStream as Readable;
  zip.on("error", (error) => output.destroy(error as Error));
  const fed = addEntries(zip, view, options).then(
    () => zip.end(),
    (error: unknown) => void output.destroy(error as Error),
  );
  for await (const piece of output) yield piece as Uint8Array;
  await fed;
}

async function addEntries(zip: ZipFile, view: SnapshotView, options: ArchiveOptions): Promise<void> {
  for await (const { path, entry } of walk(view, { from: options.from, signal: options.signal })) {
    if (path === "") continue;
    const name = zipName(path);
    const attributes = { mtime: zipTime(entry), mode: (TYPE_BITS[entry.type] | entry.mode) & 0xffff };
    if (entry.type === "directory") zip.addEmptyDirectory(name, attributes);
    else if (entry.type === "symlink")
      zip.addBuffer(rawPathToBytes(entry.target), name, { ...attributes, compress: false });
    else if (entry.type === "file") {
      const content = Readable.from(contentOf(view, entry, options.signal), { objectMode: false });
      zip.addReadStream(content, name, { ...attributes, size: entry.sizeBytes });
      // One after another: zip reads one at a time, and would hold the others in memory.
      await finished(content, { writable: false });
    } else
      options.onSkipped?.(path, `a zip archive cannot hold a ${entry.type === "fifo" ? "FIFO" : "device or socket"}`);
  }
}

const TYPE_BITS: Readonly<Record<TreeEntry["type"], number>> = {
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

function zipName(path: RawPath): string {
  const name = displayPath(path).replaceAll("\\", "⧵");
  // A colon after one letter would be a drive.
  return /^[a-z]:/i.test(name) ? `./${name}` : name;
}

const LARGEST_SECONDS = 0x7fffffff;

function zipTime({ mtimeSeconds }: TreeEntry): Date {
  return new Date(Math.min(Math.max(mtimeSeconds, 0), LARGEST_SECONDS) * 1000);
}

const ZEROS = new Uint8Array(64 * 1024);

async function* contentOf(view: SnapshotView, file: FileEntry, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const piece of view.pieces(file)) {
    signal?.throwIfAborted();
    if (piece.kind === "data") yield piece.bytes;
    else
      for (let left = piece.lengthBytes; left > 0; left -= ZEROS.length)
        yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
  }
}
