/** What of a host is pulled: what its policy says, or what the host itself lists. */
import { ConnectionError, HoldfastError } from "../../errors.ts";
import type { Policy } from "../../fleet/policies.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { normaliseRemotePath } from "../../source/rsync/remote-command.ts";
import { BACKUP_CONF, MOST_CONF_BYTES, parseBackupConf, withoutNested, type ListedPaths } from "./backup-conf.ts";
import { askHost, lastLine, pullShell } from "./pull-ssh.ts";

export interface PathsRequest {
  readonly dataFolder: string;
  readonly host: string;
  readonly pull: PullSettings;
  readonly policy: Pick<Policy, "name" | "sources" | "excludes">;
}

export interface PullPaths extends ListedPaths {
  readonly excludes: readonly string[];
}

/** Of a whole system, what is no data of its own. */
const NEVER_OF_A_SYSTEM = ["/dev/*", "/proc/*", "/sys/*", "/run/*", "/tmp/*", "/var/tmp/*", "/mnt/*", "/media/*"];
const TIMEOUT_MS = 60_000;

/** Throws `ConnectionError` or `HoldfastError` where the host does not tell. */
export async function pathsOf(request: PathsRequest): Promise<PullPaths> {
  const { pull, policy } = request;
  const listed = pull.pathsFrom === "host" ? await pathsOfHost(request) : pathsOfPolicy(policy);
  const system = listed.paths.includes("/") ? NEVER_OF_A_SYSTEM : [];
  return { ...listed, excludes: [...system, ...policy.excludes] };
}

/** A policy that names nothing means the whole system. */
export function pathsOfPolicy({ sources }: Pick<Policy, "sources">): ListedPaths {
  return { paths: withoutNested((sources.length > 0 ? sources : ["/"]).map(normaliseRemotePath)), problems: [] };
}

async function pathsOfHost(request: PathsRequest): Promise<ListedPaths> {
  const { host, pull } = request;
  const limits = { mostBytes: MOST_CONF_BYTES, timeoutMs: TIMEOUT_MS };
  const answer = await askHost(pullShell(request, "paths"), pull.login, `cat ${BACKUP_CONF}`, limits);
  const said = lastLine(answer.complaints);
  if (answer.isCut) throw new HoldfastError(`${BACKUP_CONF} of ${host} is longer than ${MOST_CONF_BYTES} bytes`);
  if (answer.exitCode === 255 || answer.exitCode === 124) {
    throw new ConnectionError(`${host} does not let the server read ${BACKUP_CONF}: ${said || "no answer"}`, {
      hint: `"holdfast host test ${host}" says what is missing`,
    });
  }
  if (answer.exitCode !== 0) {
    throw new HoldfastError(`${BACKUP_CONF} of ${host} cannot be read: ${said || `exit code ${answer.exitCode}`}`, {
      hint: "list what is to be saved in it, one full path a line",
    });
  }
  const listed = parseBackupConf(answer.output);
  if (listed.paths.length > 0) return listed;
  throw new HoldfastError(`${BACKUP_CONF} of ${host} names nothing to save`, {
    hint: listed.problems[0] ?? "list what is to be saved in it, one full path a line",
  });
}
