import { UsageError } from "../../errors.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { normaliseRemotePath } from "./remote-command.ts";
import { parseRemotePath } from "./remote-path.ts";

/** Places on one host, as they were named: `HOST:PATH`. */
export interface RemotePlaces {
  readonly login: string;
  /** The host's name in the login. */
  readonly host: string;
  /** What the remote rsync is asked for. */
  readonly wanted: readonly string[];
  /** Where that stands in a snapshot: absolute. */
  readonly paths: readonly RawPath[];
}

/**
 * The places that arguments name on another host; undefined where all are local. As in rsync, `:PATH` after the first is
 * on the same host. Throws `UsageError` where there are both, or several hosts.
 */
export function parseRemotePlaces(args: readonly string[]): RemotePlaces | undefined {
  const places = args.map(parseRemotePath);
  const first = places.find((place) => place !== undefined);
  if (first === undefined) return undefined;
  const wanted = places.map((place, i) => {
    if (place?.login === first.login) return normaliseRemotePath(withoutTilde(place.path));
    const isShort = i > 0 && /^:[^:]/.test(args[i]);
    if (place === undefined && isShort) return normaliseRemotePath(withoutTilde(args[i].slice(1)));
    throw new UsageError(`a backup is of one host: ${args[i]} is not on ${first.login}`, {
      hint: "save each host by a run of its own",
    });
  });
  const isAbsolute = wanted[0].startsWith("/");
  if (wanted.some((path) => path.startsWith("/") !== isAbsolute)) {
    throw new UsageError("paths on another host are either all absolute, or all relative to the login's folder");
  }
  const paths = wanted.map((path) => rawPathFromText(isAbsolute ? path : `/${path.replace(/^\.\/?/, "")}`));
  const host = first.login.slice(first.login.lastIndexOf("@") + 1);
  return { login: first.login, host, wanted: [...new Set(wanted)], paths: [...new Set(paths)].toSorted() };
}

/** `~` is what relative paths begin at anyway. Whose folder `~ann` is, only a shell there could say. */
function withoutTilde(path: string): string {
  const [tilde, rest] = /^(~[^/]*)?(.*)$/s.exec(path)!.slice(1) as [string | undefined, string];
  if (tilde === undefined) return path;
  if (tilde === "~") return rest.replace(/^\/+/, "");
  throw new UsageError(`${tilde} is not looked up on the other host`, {
    hint: `write the full path of that folder, or ./${tilde} if that is its name`,
  });
}
