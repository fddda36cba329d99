/** What users of restic type and Holdfast has not: why not, or what does it here. */

/** By the name of the command. */
const COMMANDS = new Map([
  [
    "cache",
    'what is kept to make runs faster stays small by itself; it may be deleted at any time (see "--cache-dir")',
  ],
  ["features", "there are no features to switch"],
  ["generate", 'completion scripts come from "holdfast completion"'],
  ["list", '"holdfast snapshots" and "holdfast key list" list what there is'],
  ["migrate", "there is one format of repositories"],
  ["mount", '"holdfast ls", "find", "dump" and "restore SNAPSHOT:PATH" give what is in a snapshot'],
  ["rebuild-index", 'use "holdfast repair index"'],
  ["recover", 'what was forgotten cannot be brought back; "holdfast repair" saves what is left of damaged snapshots'],
  ["rewrite", "snapshots are signed and never changed: leave it out of the next one, and forget those that have it"],
  ["self-update", "update Holdfast as it was installed: from its package, or with git pull and npm ci"],
  ["tag", 'snapshots are signed and never changed: tags are given with "holdfast backup --tag"'],
]);

/** By the long flag. */
const OPTIONS = new Map([
  ["--cacert", "set NODE_EXTRA_CA_CERTS to that file instead"],
  ["--cleanup-cache", "leave it away: what is kept on this machine may be deleted at any time"],
  ["--last", 'use "--latest 1"'],
  ["--no-lock", "leave it away: nothing that only reads needs a lock"],
  ["--no-scan", "leave it away: nothing is counted beforehand unless a terminal shows it"],
  ["--pack-size", "leave it away: the size of packs is chosen by itself"],
  ["--read-concurrency", "leave it away: as many files are read at once as it takes"],
  ["--retry-lock", "leave it away: nothing is locked out but a prune beside another prune"],
  ["--with-atime", "times of access are not saved, as every reading changes them"],
]);

/** What to do instead of a command or an option that is unknown; undefined where restic has none of this name either. */
export function insteadOf(message: string): string | undefined {
  const command = /^unknown command '([^']+)'/.exec(message)?.[1];
  const option = /^unknown option '(--[a-z-]+)/.exec(message)?.[1];
  return (command && COMMANDS.get(command)) ?? (option && OPTIONS.get(option));
}
