/** What the command line says of hosts that the server pulls from. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { UsageError } from "../../errors.ts";
import type { PullInstallation } from "../../server/pulls/installation.ts";
import type { PullFinding, PullTest } from "../../server/pulls/test-host.ts";
import { apiPath } from "../../server/api-client.ts";
import type { Invocation } from "../command-spec.ts";
import type { Output } from "../output/output.ts";
import { serverOf } from "../server-access.ts";
import { only } from "./fleet-options.ts";
import type { hostTestSpec } from "./host.spec.ts";

interface PullOptions {
  readonly pull: string | undefined;
  readonly port: number | undefined;
  readonly identity: string | undefined;
  readonly pathsFrom: "policy" | "host" | undefined;
}

/** As the API wants it; undefined where the host shall have an agent. */
export function wantedPull({ pull, port, identity, pathsFrom }: PullOptions): object | undefined {
  if (pull !== undefined) return { login: pull, port, identityFile: fullPath(identity), pathsFrom };
  if (port === undefined && identity === undefined && pathsFrom === undefined) return undefined;
  throw new UsageError("--port, --identity and --paths-from are for hosts that the server pulls from", {
    hint: "name the login with --pull USER@HOST",
  });
}

/** What shall be different; undefined where nothing of it was named. */
export function changedPull(options: PullOptions & { readonly newHostKey: boolean }): object | undefined {
  const { pull: login, port, identity, pathsFrom, newHostKey } = options;
  if ([login, port, identity, pathsFrom].every((value) => value === undefined) && !newHostKey) return undefined;
  return { login, port, identityFile: fullPath(identity), pathsFrom, ...(newHostKey && { newHostKey }) };
}

function fullPath(file: string | undefined): string | undefined {
  return file === undefined ? undefined : path.resolve(file);
}

/** What to do on the host, step by step, with lines to copy. */
export function tellInstallation(output: Output, host: string, installation: PullInstallation): void {
  const { login, port, gateFile, gatePath, gateLine, rrsyncLine, key, pathsLine, sudoLine } = installation;
  const user = login.includes("@") ? login.slice(0, login.lastIndexOf("@")) : "that user";
  const root = `root@${login.slice(login.lastIndexOf("@") + 1)}`;
  const ssh = `ssh ${port === 22 ? "" : `-p ${port} `}${root}`;
  tellHostKeys(output, installation);
  output.note("");
  if (gateLine !== undefined) {
    output.note("1. Copy the gate there, a short script that lets the server read what is named and do nothing else:");
    output.note("");
    output.note(`  ${ssh} 'cat > ${gatePath} && chmod 755 ${gatePath}' < ${gateFile}`);
    output.note("");
    output.note(`2. Put this line into ~/.ssh/authorized_keys of ${user} there:`);
    output.note("");
    output.note(`  ${gateLine}`);
  } else {
    output.note(`1. The gate cannot take these paths. Put this line into ~/.ssh/authorized_keys of ${user} there:`);
    output.note("");
    output.note(`  ${rrsyncLine}`);
  }
  if (pathsLine !== undefined) {
    output.note("");
    output.note("   and this one, with which the server may read the host's list of what is to be saved:");
    output.note("");
    output.note(`  ${pathsLine}`);
  }
  if (sudoLine !== undefined) {
    output.note("");
    output.note("   and this one into sudoers (visudo) there, as only root may read everything:");
    output.note("");
    output.note(`  ${sudoLine}`);
  }
  output.note("");
  if (gateLine !== undefined) {
    output.note("   Without the gate, rrsync does it too, for everything there is:");
    output.note("");
    output.note(`  ${rrsyncLine}`);
    output.note("");
  }
  output.note('   A forced command of your own that allows "rsync --server --sender -logDtprR --numeric-ids . /PATH"');
  output.note("   can stay as it is; give it this key:");
  output.note("");
  output.note(`  ${key}`);
  output.note("");
  output.note(
    `${gateLine === undefined ? 2 : 3}. See whether all is well, and pull for the first time; later it comes by itself:`,
  );
  output.note("");
  output.note(`  holdfast host test ${host}`);
  output.note(`  holdfast host run ${host}`);
}

/** What is pinned from now on, for whoever wants to compare it. */
export function tellHostKeys(output: Output, { fingerprints }: PullInstallation): void {
  output.note(`its host key is pinned: ${fingerprints.join(", ")}`);
  output.note("  (compare it with what this prints there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)");
}

/** A key as it was given, or what a file of that name holds. */
export function publicKeyOf(given: string): string {
  return existsSync(given) ? readFileSync(given, "utf8").trim() : given;
}

/** What a host does that comes with a stock rsync. */
export function tellPush(output: Output, login: string, host: string): void {
  output.note(`added the host ${host}; with its key it can save itself, and fetch what it has saved:`);
  output.note("");
  output.note(`  rsync -aHAX --numeric-ids --exclude=/proc --exclude=/sys / ${login}:`);
  output.note(`  rsync ${login}:`);
  output.note(`  rsync -aHAX ${login}:latest/etc/ ./etc/`);
}

const NOT_AS_IT_SHOULD_BE = 3;
const MARKS: Readonly<Record<PullFinding["state"], string>> = {
  ok: "ok      ",
  warning: "warning ",
  failed: "FAILED  ",
};

export const test = {
  async run({ context: { output }, args, options }: Invocation<typeof hostTestSpec.options>): Promise<number> {
    const name = only(args, "host");
    const { findings } = await serverOf(options).call<PullTest>("POST", apiPath(["hosts", name, "test"]));
    const worst = (state: PullFinding["state"]): boolean => findings.some((finding) => finding.state === state);
    const exitCode = worst("failed") ? 1 : worst("warning") ? NOT_AS_IT_SHOULD_BE : 0;
    if (output.json) {
      output.jsonLine({ host: name, findings });
      return exitCode;
    }
    for (const { state, text, hint } of findings) {
      output.line(`${MARKS[state]}${text}`);
      if (hint !== undefined) output.line(`        ${hint}`);
    }
    if (exitCode === 0) output.note(`${name} can be pulled from: holdfast host run ${name}`);
    return exitCode;
  },
};
