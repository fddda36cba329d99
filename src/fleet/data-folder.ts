/** Where the server keeps what, below its data folder. */
import path from "node:path";

export const dataFile = {
  database: (folder: string) => path.join(folder, "holdfast.sqlite"),
  lock: (folder: string) => path.join(folder, "server.lock"),
  /** Socket of the administrators' API. */
  apiSocket: (folder: string) => path.join(folder, "api.sock"),
  /** Socket at which hosts' sessions arrive. */
  hostSocket: (folder: string) => path.join(folder, "hosts.sock"),
  configuration: (folder: string) => path.join(folder, "holdfast.toml"),
  accounts: (folder: string) => path.join(folder, "accounts"),
  /** Where the account's repository is, for when the database is lost. */
  account: (folder: string, account: string) => path.join(folder, "accounts", account, "account.json"),
  keyRing: (folder: string, account: string) => path.join(folder, "accounts", account, "key-ring.json"),
  /** The embedded repository of an account that names no other. */
  repository: (folder: string, account: string) => path.join(folder, "repositories", account),
  scratch: (folder: string) => path.join(folder, "scratch"),
  /** Content of hosts that is not whole yet. */
  incoming: (folder: string) => path.join(folder, "incoming"),
  /** Room that is given up when the disc is full. */
  reserve: (folder: string) => path.join(folder, "reserve"),
  authorizedKeys: (folder: string) => path.join(folder, ".ssh", "authorized_keys"),
} as const;
