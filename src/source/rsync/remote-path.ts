import { UsageError } from "../../errors.ts";

/** A place on another host, in rsync's and scp's syntax. */
export interface RemotePath {
  /** For ssh: `host`, `user@host`, `user@::1`. */
  readonly login: string;
  /** As it was written after the colon; "" for the login's home folder. */
  readonly path: string;
}

/**
 * `HOST:PATH`, `USER@HOST:PATH` or `[IPv6]:PATH`; undefined for what is a local path: as in rsync, a colon counts only
 * before the first slash. Throws `UsageError` for a daemon (`HOST::MODULE`, `rsync://`).
 */
export function parseRemotePath(text: string): RemotePath | undefined {
  if (/^rsync:\/\//i.test(text)) throw noDaemon(text);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    throw new UsageError(`${text} is no place on another host`, { hint: "write HOST:PATH, or USER@HOST:PATH" });
  }
  const match = /^((?:[^:/@[\]]+@)?)(?:\[([^\]/]+)\]|([^:/[\]@]+)):(.*)$/s.exec(text);
  if (match === null) return undefined;
  const [, user, address, host, path] = match;
  if (path.startsWith(":")) throw noDaemon(text);
  const login = user + (address ?? host);
  if (login.startsWith("-") || (host ?? address).startsWith("-") || /[\s\p{Cc}]/u.test(login)) {
    throw new UsageError(`${JSON.stringify(login)} is no name of a host`);
  }
  if (path.includes("\0")) throw new UsageError("a path cannot hold a NUL");
  return { login, path };
}

function noDaemon(text: string): UsageError {
  return new UsageError(`${text} is the address of an rsync daemon; only rsync over ssh works here`, {
    hint: "write HOST:PATH for what that host shows over ssh",
  });
}
