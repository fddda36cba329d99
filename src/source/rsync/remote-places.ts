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
 * The places that arguments name on another host; undefined where all are local. Throws `UsageError` where there are
 * both, or several hosts.
 */
export function parseRemotePlaces(args: readonly string[]): RemotePlaces | undefined {
  const places = args.map(parseRemotePath);
  const first = places.find((place) => place !== undefined);
  if (first === undefined) return undefined;
  const wanted = places.map((place, i) => {
    if (place?.login === first.login) return normaliseRemotePath(place.path);
    throw new UsageError(`a backup is of one host: ${args[i]} is not on ${first.login}`);
  });
  const isAbsolute = wanted[0].startsWith("/");
  if (wanted.some((path) => path.startsWith("/") !== isAbsolute)) {
    throw new UsageError("paths on another host are either all absolute, or all relative to the login's folder");
  }
  const paths = wanted.map((path) => rawPathFromText(isAbsolute ? path : `/${path.replace(/^\.\/?/, "")}`));
  const host = first.login.slice(first.login.lastIndexOf("@") + 1);
  return { login: first.login, host, wanted: [...new Set(wanted)], paths: [...new Set(paths)].toSorted() };
}
