import type { Host } from "../../fleet/hosts.ts";
import type { Run } from "../../fleet/runs.ts";
import { UsageError } from "../../errors.ts";
import { apiPath } from "../../server/api-client.ts";
import type { HostDetails } from "../../server/api-routes.ts";
import type { Invocation } from "../command-spec.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatTime } from "../output/format-time.ts";
import type { Output } from "../output/output.ts";
import type { PullInstallation } from "../../server/pulls/installation.ts";
import { formatTable } from "../output/table.ts";
import { serverLogin, serverOf } from "../server-access.ts";
import { changedQuota, only, plural } from "./fleet-options.ts";
import { changedPull, publicKeyOf, tellHostKeys, tellInstallation, tellPush, wantedPull } from "./host-pull.ts";
import type {
  hostAddSpec,
  hostApproveSpec,
  hostEditSpec,
  hostListSpec,
  hostRemoveSpec,
  hostShowSpec,
  hostTokenSpec,
} from "./host.spec.ts";
import { runTable } from "./runs.ts";

export const add = {
  async run({ context: { output }, args, options }: Invocation<typeof hostAddSpec.options>): Promise<number> {
    const { account, policy, keyMode } = options;
    const pull = wantedPull(options);
    const sshKey = options.rsyncKey === undefined ? undefined : publicKeyOf(options.rsyncKey);
    const body = { name: only(args, "host"), account, policy, keyMode, quota: changedQuota({}, options), pull, sshKey };
    const { host, token, installation } = await serverOf(options).call<AddedHost>("POST", "/v1/hosts", body);
    if (output.json) output.jsonLine({ host, token, installation });
    else if (sshKey !== undefined) tellPush(output, serverLogin(options), host.name);
    else if (installation !== undefined) {
      output.note(`added the host ${host.name}, from which the server pulls as ${installation.login}`);
      tellInstallation(output, host.name, installation);
    } else {
      output.note(`added the host ${host.name}`);
      tellToken(output, serverLogin(options), host.name, token);
    }
    return 0;
  },
};

interface AddedHost {
  readonly host: Host;
  readonly token: string;
  /** Of one that the server pulls from, in place of the token. */
  readonly installation?: PullInstallation;
}

function tellToken(output: Output, login: string, host: string, token: string): void {
  output.note(`Within a day, on the host (which may know this server by another name):`);
  output.note("");
  output.note(`  holdfast agent setup ${login} --name ${host} --token ${token}`);
}

export const list = {
  async run({ context: { output }, options }: Invocation<typeof hostListSpec.options>): Promise<number> {
    const hosts = await serverOf(options).call<Host[]>("GET", "/v1/hosts");
    if (output.json) output.jsonLine(hosts);
    else for (const line of formatTable(COLUMNS, hosts, plural(hosts.length, "host"))) output.line(line);
    return 0;
  },
};

const COLUMNS = [
  { title: "Host", cell: ({ name }: Host) => name },
  {
    title: "State",
    cell: ({ state, offeredKeys }: Host) => (offeredKeys === undefined ? state : `${state}, new key to approve`),
  },
  { title: "Account", cell: ({ account }: Host) => account },
  { title: "Policy", cell: ({ policy }: Host) => policy },
  { title: "Key", cell: ({ keyMode }: Host) => keyMode },
  { title: "Used", align: "right" as const, cell: ({ usedBytes }: Host) => formatBytes(usedBytes) },
  {
    title: "Quota",
    align: "right" as const,
    cell: ({ quota: { hardBytes } }: Host) => (hardBytes === undefined ? "none" : formatBytes(hardBytes)),
  },
];

export const show = {
  async run({ context: { output }, args, options }: Invocation<typeof hostShowSpec.options>): Promise<number> {
    const server = serverOf(options);
    const name = only(args, "host");
    const host = await server.call<HostDetails>("GET", apiPath(["hosts", name]));
    const runs = await server.call<Run[]>("GET", apiPath(["runs"], { host: name, limit: 10 }));
    if (output.json) output.jsonLine({ ...host, runs });
    else {
      for (const line of formatTable(COLUMNS, [host])) output.line(line);
      if (host.pull === undefined) {
        output.line(`added ${formatTime(host.createdMs)}; SSH key ${host.keys?.sshKey ?? "none yet"}`);
      } else {
        output.line(`added ${formatTime(host.createdMs)}; the server pulls from ${host.pull.login}`);
        const installation = await server.call<PullInstallation>("GET", apiPath(["hosts", name, "pull"]));
        tellInstallation(output, name, installation);
      }
      tellSignatures(output, host);
      if (host.offeredKeys !== undefined) output.line(`offered: ${host.offeredKeys.sshKey}`);
      output.line("");
      for (const line of runTable(runs)) output.line(line);
    }
    return 0;
  },
};

function tellSignatures(output: Output, { name, signatures, earlierKeys }: HostDetails): void {
  const { byEarlierKeys, byUnknownKeys } = signatures;
  for (const { signingKey, untilMs } of earlierKeys) {
    output.line(`earlier signing key, until ${formatTime(untilMs)}: ${signingKey}`);
  }
  if (byEarlierKeys > 0) output.line(`${byEarlierKeys} of its snapshots are signed by earlier keys of its own`);
  if (byUnknownKeys > 0) {
    output.line(
      `${byUnknownKeys} snapshots under the name ${name} are signed by a key that this server never knew as its`,
    );
  }
}

export const edit = {
  async run({ context: { output }, args, options }: Invocation<typeof hostEditSpec.options>): Promise<number> {
    const { policy, keyMode, suspend, resume } = options;
    if (suspend && resume) throw new UsageError("--suspend and --resume exclude each other");
    const server = serverOf(options);
    const path = apiPath(["hosts", only(args, "host")]);
    const { quota } = await server.call<Host>("GET", path);
    const suspended = suspend ? true : resume ? false : undefined;
    const change = { policy, keyMode, suspended, quota: changedQuota(quota, options) };
    const pullChange = changedPull(options);
    let host: Host | undefined;
    if (pullChange !== undefined) host = await server.call<Host>("PATCH", `${path}/pull`, pullChange);
    if (host === undefined || Object.values(change).some((value) => value !== undefined)) {
      host = await server.call<Host>("PATCH", path, change);
    }
    if (output.json) output.jsonLine(host);
    output.note(`changed the host ${host.name}`);
    if (options.newHostKey) tellHostKeys(output, await server.call<PullInstallation>("GET", `${path}/pull`));
    return 0;
  },
};

export const remove = {
  async run({ context: { output }, args, options }: Invocation<typeof hostRemoveSpec.options>): Promise<number> {
    const name = only(args, "host");
    await serverOf(options).call("DELETE", apiPath(["hosts", name]));
    if (output.json) output.jsonLine({ message_type: "removed", host: name });
    output.note(`forgot the host ${name}; its snapshots stay in the repository`);
    return 0;
  },
};

export const approve = {
  async run({ context: { output }, args, options }: Invocation<typeof hostApproveSpec.options>): Promise<number> {
    const host = await serverOf(options).call<Host>("POST", apiPath(["hosts", only(args, "host"), "approve"]));
    if (output.json) output.jsonLine(host);
    output.note(`the new key of ${host.name} counts from now on, the old one no more`);
    return 0;
  },
};

export const token = {
  async run({ context: { output }, args, options }: Invocation<typeof hostTokenSpec.options>): Promise<number> {
    const name = only(args, "host");
    const answer = await serverOf(options).call<{ token: string }>("POST", apiPath(["hosts", name, "token"]));
    if (output.json) output.jsonLine(answer);
    else tellToken(output, serverLogin(options), name, answer.token);
    return 0;
  },
};
