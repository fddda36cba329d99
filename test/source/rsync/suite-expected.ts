/** What is expected of a test of rsync's suite where it is not that it passes; after the colon, why. */
export const EXPECTED: Readonly<Record<string, { readonly fetch?: string; readonly push?: string }>> = {
  "acls-default": { push: notAll() },
  "alt-dest": { push: refused("--compare-dest, --copy-dest and --link-dest") },
  atimes: { fetch: "fails: snapshots hold no access times", push: notAll() },
  backup: { push: refused("--backup") },
  "batch-mode": { push: "fails: a batch tells what a far side that is a folder would do with folders and links" },
  chgrp: { push: notAll() },
  crtimes: { fetch: "skips: Linux keeps no time of creation that could be set", push: "skips: as for a fetch" },
  daemon: { fetch: "not run by it: of rsync's daemon", push: "not run by it: of rsync's daemon" },
  "delay-updates": { push: "fails: looks for the folder that a receiver lays updates into" },
  delete: { fetch: refused("--remove-source-files"), push: refused("--remove-source-files") },
  devices: { push: notAll() },
  "dir-sgid": { push: notAll() },
  exclude: { fetch: refused("filter files (-C, dir-merge)"), push: refused("--prune-empty-dirs") },
  "exclude-lsh": { fetch: refused("--copy-unsafe-links"), push: refused("--copy-unsafe-links") },
  executability: { push: notAll() },
  hardlinks: { push: refused("--link-dest") },
  itemize: { push: notAll() },
  merge: { push: refused("--existing") },
  missing: { push: refused("--existing") },
  mkpath: { push: "fails: no folder is made where what was pushed goes" },
  "protected-regular": { fetch: "skips: of a setting of this machine", push: "skips: of a setting of this machine" },
  relative: { push: refused("--existing") },
  "ssh-basic": { fetch: "not run by it: of ssh to a real rsync", push: "not run by it: of ssh to a real rsync" },
  "symlink-ignore": { push: notAll() },
  trimslash: { fetch: "not run by it: of a function of rsync's", push: "not run by it: of a function of rsync's" },
  "unsafe-byname": {
    fetch: "not run by it: of a function of rsync's",
    push: "not run by it: of a function of rsync's",
  },
  "unsafe-links": { fetch: refused("--copy-links"), push: refused("--copy-unsafe-links") },
  wildmatch: { fetch: "not run by it: of a function of rsync's", push: "not run by it: of a function of rsync's" },
  xattrs: { push: refused("--copy-dest") },
};

function refused(what: string): string {
  return `fails: ${what} is refused, in words that rsync shows`;
}

function notAll(): string {
  return "fails: it pushes without all that -a sends, and that is refused: a snapshot must bring back everything";
}
