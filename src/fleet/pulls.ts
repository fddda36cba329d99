/** Hosts that have no agent: the server pulls from them with rsync over ssh. */
import type { Database } from "./database/open.ts";
import type { PullTable } from "./database/schema.ts";

/** How the server reaches a host that it pulls from. */
export interface PullSettings {
  /** As ssh takes it: `root@web1`. */
  readonly login: string;
  readonly port: number;
  /** A private key on the server, in place of the server's own for pulls. */
  readonly identityFile?: string | undefined;
  /** Public keys that the host's sshd may show: `ssh-ed25519 AAAA…`. */
  readonly hostKeys: readonly string[];
  /** Whether the policy says what is saved, or the host's own `/etc/backup.conf`. */
  readonly pathsFrom: PullTable["paths_from"];
  /** What of rsync's options went through last: see `PullProfile` of the rsync source. Undefined until one did. */
  readonly form?: PullTable["form"] & string;
}

/** Columns of `PullTable`, null where a host has an agent. */
interface PullColumns {
  readonly login: string | null;
  readonly port: number | null;
  readonly identity_file: string | null;
  readonly host_keys: string | null;
  readonly paths_from: PullTable["paths_from"] | null;
  readonly form: PullTable["form"];
}

export function pullOf(row: PullColumns): PullSettings | undefined {
  const { login, port, host_keys: hostKeys, paths_from: pathsFrom } = row;
  if (login === null || port === null || hostKeys === null || pathsFrom === null) return undefined;
  return {
    login,
    port,
    ...(row.identity_file !== null && { identityFile: row.identity_file }),
    hostKeys: hostKeys.split("\n").filter((key) => key !== ""),
    pathsFrom,
    ...(row.form !== null && { form: row.form }),
  };
}

/** Keeps how a host is reached, in place of what was kept before. */
export async function savePull(database: Database, hostId: number, pull: PullSettings): Promise<void> {
  const row = {
    login: pull.login,
    port: pull.port,
    identity_file: pull.identityFile ?? null,
    host_keys: pull.hostKeys.join("\n"),
    paths_from: pull.pathsFrom,
    form: pull.form ?? null,
  };
  await database
    .insertInto("pulls")
    .values({ host_id: hostId, ...row })
    .onConflict((conflict) => conflict.column("host_id").doUpdateSet(row))
    .execute();
}
