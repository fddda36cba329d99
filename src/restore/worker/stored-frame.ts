/** Reading frames from packs that are files of this machine, without going through storage. */
import { closeSync, constants, openSync } from "node:fs";
import { DamagedError, messageOf } from "../../errors.ts";
import { adviseWillNeed } from "../../platform/file-data.ts";
import { readExactly } from "./file-content.ts";

// O_NONBLOCK: a FIFO planted in the folder must not hold us for ever.
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Fills `target` from `offset` in the file. Throws `DamagedError`, whatever the reason: the main thread then looks for
 * another copy, and says what is wrong if there is none.
 */
export function readStored(file: string, offset: number, target: Uint8Array): void {
  let isWhole: boolean;
  try {
    const fd = openSync(file, FLAGS);
    try {
      isWhole = readExactly(fd, target, offset);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new DamagedError(messageOf(error), { cause: error });
  }
  if (!isWhole) throw new DamagedError(`${file} is shorter than it should be`);
}

/** Lets the disc get on with reading what `readStored` will be asked for. */
export function readAhead(file: string, offset: number, lengthBytes: number): void {
  let fd: number;
  try {
    fd = openSync(file, FLAGS);
  } catch {
    // `readStored` will meet that as well, and tell.
    return;
  }
  adviseWillNeed(fd, offset, lengthBytes);
  closeSync(fd);
}
