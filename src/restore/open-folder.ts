import { errnoOf } from "../errors.ts";
import { closeFd, OPEN, openAt } from "../platform/open.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { chmodAt, chmodFd } from "../platform/set-attributes.ts";
import { statFd } from "../platform/stat.ts";

const FOLDER = OPEN.READ | OPEN.DIRECTORY | OPEN.NOFOLLOW;
const OWNER_RIGHTS = 0o700;

/**
 * Opens a folder to change what is in it. One that its owner may not change himself (mode 0555, or 000) is made
 * changeable first; the caller sets its mode at the end. Never follows a link: that is ENOTDIR. Throws `SystemError`.
 */
export function openFolderAt(dirFd: number, name: RawPath): number {
  const fd = openReadable(dirFd, name);
  try {
    const { mode } = statFd(fd);
    if ((mode & OWNER_RIGHTS) !== OWNER_RIGHTS) chmodFd(fd, mode | OWNER_RIGHTS);
  } catch (error) {
    // Somebody else's: then what follows tells whether anything can be changed in it.
    if (errnoOf(error) !== "EPERM") {
      closeFd(fd);
      throw error;
    }
  }
  return fd;
}

function openReadable(dirFd: number, name: RawPath): number {
  try {
    return openAt(dirFd, name, FOLDER);
  } catch (error) {
    if (errnoOf(error) !== "EACCES") throw error;
    chmodAt(dirFd, name, OWNER_RIGHTS);
    return openAt(dirFd, name, FOLDER);
  }
}
