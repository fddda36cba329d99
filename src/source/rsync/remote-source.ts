import { UsageError } from "../../errors.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { compileExcludes } from "../local/exclude-patterns.ts";
import { allExcluded } from "../all-excluded.ts";
import type { ReportProblem, Source, SourceEntry } from "../source.ts";
import { excludingSource, remoteFilters } from "./excluding-source.ts";
import type { Basis } from "./protocol/basis.ts";
import { normaliseRemotePath } from "./remote-command.ts";
import type { PullProfile } from "./remote-command.ts";
import { parseRemotePath } from "./remote-path.ts";
import type { RemoteShell } from "./remote-process.ts";
import { openRsyncSource } from "./rsync-source.ts";
import type { RsyncTraffic } from "./rsync-source.ts";

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

export interface RemoteSourceOptions {
  readonly places: RemotePlaces;
  readonly shell: RemoteShell;
  readonly excludes: readonly string[];
  readonly excludesIgnoringCase: readonly string[];
  readonly excludeLargerThanBytes: number | undefined;
  readonly oneFileSystem: boolean;
  readonly compress: boolean;
  /** By default all is asked for, and the plainest form where that is refused. */
  readonly profile?: PullProfile | undefined;
  /** The last version of a file, so that only what has changed in it must travel. */
  readonly previous: (path: RawPath) => Promise<Basis | undefined>;
  readonly onProblem: ReportProblem;
}

export interface RemoteSource extends Source {
  /** What was asked for: "plain" lacks hard links, ACLs and extended attributes. */
  readonly profile: PullProfile;
  readonly traffic: () => RsyncTraffic;
}

/** What another host shows through `rsync` over ssh, without what is to be left out. Errors: see `openRsyncSource`. */
export async function openRemoteSource(options: RemoteSourceOptions): Promise<RemoteSource> {
  const { places } = options;
  const source = await openRsyncSource({
    remote: { shell: options.shell, login: places.login },
    paths: places.wanted,
    oneFileSystem: options.oneFileSystem,
    compress: options.compress,
    ...(options.profile !== undefined && { profile: options.profile }),
    filters: remoteFilters(options.excludes),
    previous: options.previous,
    onProblem: options.onProblem,
  });
  const exclusions = {
    isExcluded: compileExcludes({
      patterns: options.excludes,
      patternsIgnoringCase: options.excludesIgnoringCase,
    }),
    largerThanBytes: options.excludeLargerThanBytes ?? Number.POSITIVE_INFINITY,
  };
  const left = excludingSource(source, exclusions);
  return {
    ...left,
    entries: () => unlessOnlyAbove(places.paths, left),
    profile: source.profile,
    traffic: source.traffic,
  };
}

/**
 * The entries of a source. Throws `UsageError` at their end where they are nothing but folders above the paths. (Whether
 * they lie at the paths does not matter: a forced command may show what it likes.)
 */
async function* unlessOnlyAbove(paths: readonly RawPath[], source: Source): AsyncGenerator<readonly SourceEntry[]> {
  const wanted = paths.map((path) => path.replace(/^\/+/, ""));
  const isAbove = ({ path }: SourceEntry): boolean =>
    wanted.every((top) => top !== "") && (path === "" || wanted.some((top) => top.startsWith(`${path}/`)));
  let isOnlyAbove = true;
  for await (const batch of source.entries()) {
    isOnlyAbove &&= batch.every(isAbove);
    yield batch;
  }
  if (isOnlyAbove) throw allExcluded();
}
