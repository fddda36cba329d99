import type { Account, CreatedAccount } from "../../fleet/accounts.ts";
import { UsageError } from "../../errors.ts";
import { apiPath } from "../../server/api-client.ts";
import type { Invocation } from "../command-spec.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatTime } from "../output/format-time.ts";
import { formatTable } from "../output/table.ts";
import { serverOf } from "../server-access.ts";
import { changedQuota, only } from "./fleet-options.ts";
import type { accountAddSpec, accountEditSpec, accountListSpec, accountShowSpec } from "./host.spec.ts";
import { recoveryText } from "./server.ts";

export const add = {
  async run({ context: { output }, args, options }: Invocation<typeof accountAddSpec.options>): Promise<number> {
    const created = await serverOf(options).call<CreatedAccount>("POST", "/v1/accounts", {
      name: only(args, "account"),
      storageUrl: options.storage,
      keyMode: options.ownerKey ? "owner" : "server",
      quota: changedQuota({}, options),
    });
    const { account, recoveryIdentity } = created;
    if (output.json) output.jsonLine(created);
    else for (const line of recoveryText(account.name, recoveryIdentity)) output.line(line);
    return 0;
  },
};

export const list = {
  async run({ context: { output }, options }: Invocation<typeof accountListSpec.options>): Promise<number> {
    const accounts = await serverOf(options).call<Account[]>("GET", "/v1/accounts");
    if (output.json) output.jsonLine(accounts);
    else for (const line of formatTable(COLUMNS, accounts)) output.line(line);
    return 0;
  },
};

const sizeOr = (bytes: number | undefined): string => (bytes === undefined ? "none" : formatBytes(bytes));

const COLUMNS = [
  { title: "Account", cell: ({ name }: Account) => name },
  { title: "Repository", cell: ({ storageUrl }: Account) => storageUrl },
  { title: "Who reads", cell: ({ keyMode }: Account) => (keyMode === "server" ? "the server too" : "only the owner") },
  { title: "Soft quota", align: "right" as const, cell: ({ quota }: Account) => sizeOr(quota.softBytes) },
  { title: "Quota", align: "right" as const, cell: ({ quota }: Account) => sizeOr(quota.hardBytes) },
  { title: "Made", cell: ({ createdMs }: Account) => formatTime(createdMs) },
];

export const show = {
  async run({ context: { output }, args, options }: Invocation<typeof accountShowSpec.options>): Promise<number> {
    const account = await serverOf(options).call<Account>("GET", apiPath(["accounts", only(args, "account")]));
    if (output.json) output.jsonLine(account);
    else for (const line of formatTable(COLUMNS, [account])) output.line(line);
    return 0;
  },
};

export const edit = {
  async run({ context: { output }, args, options }: Invocation<typeof accountEditSpec.options>): Promise<number> {
    const server = serverOf(options);
    const path = apiPath(["accounts", only(args, "account")]);
    const quota = changedQuota((await server.call<Account>("GET", path)).quota, options);
    if (quota === undefined)
      throw new UsageError("nothing is named that should change", { hint: "give --quota or --soft-quota" });
    const account = await server.call<Account>("PATCH", path, { quota });
    if (output.json) output.jsonLine(account);
    output.note(`changed the account ${account.name}`);
    return 0;
  },
};
