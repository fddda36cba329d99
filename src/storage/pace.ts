import type { Disk, DiskFile } from "./disk.ts";

/** Holds what goes to a storage and what comes from it to a rate. One for all that happens at the same time. */
export interface Pace {
  readonly upload: Rate;
  readonly download: Rate;
}

export interface Rate {
  /** Resolves when so many bytes may go. */
  take(bytes: number): Promise<void>;
  /** So many may go at once, so that they do not come in bursts; `Infinity` where there is no limit. */
  readonly sliceBytes: number;
}

/** The same disc, read and written no faster than the pace allows. */
export function pacedDisk(disk: Disk, pace: Pace): Disk {
  const paced = async (file: Promise<DiskFile>): Promise<DiskFile> => pacedFile(await file, pace);
  return {
    ...disk,
    // Who opens files by themselves would keep to no rate.
    pathOf: undefined,
    create: (path) => paced(disk.create(path)),
    open: (path) => paced(disk.open(path)),
  };
}

function pacedFile(file: DiskFile, { upload, download }: Pace): DiskFile {
  return {
    ...file,
    async write(pieces) {
      const slice = firstOf(pieces, upload.sliceBytes);
      await upload.take(slice.reduce((sum, { byteLength }) => sum + byteLength, 0));
      return file.write(slice);
    },
    async read(into, offset) {
      const slice = into.subarray(0, Math.min(into.byteLength, download.sliceBytes));
      await download.take(slice.byteLength);
      return file.read(slice, offset);
    },
  };
}

function firstOf(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  return pieces.flatMap((piece) => {
    const taken = piece.subarray(0, Math.min(piece.byteLength, left));
    left -= taken.byteLength;
    return taken.byteLength === 0 ? [] : [taken];
  });
}

/** Content in slices, each as soon as it may go. */
export async function* pacedContent(content: readonly Uint8Array[], rate: Rate): AsyncGenerator<Uint8Array> {
  for (const piece of content) {
    for (let at = 0; at < piece.byteLength; at += rate.sliceBytes) {
      const slice = piece.subarray(at, Math.min(piece.byteLength, at + rate.sliceBytes));
      await rate.take(slice.byteLength);
      yield slice;
    }
  }
}
