import path from "node:path";
import { adoptRepository } from "../../fleet/adopt.ts";
import { dataFile } from "../../fleet/data-folder.ts";
import { openDatabase } from "../../fleet/database/open.ts";
import { makeFolder } from "../../platform/make-folder.ts";
import { becomeOwnerOf, lockDataFolder, refuseServedRepository } from "../../server/data-folder-lock.ts";
import type { Invocation } from "../command-spec.ts";
import { readUnlock, repositoryOptions } from "../open-repository.ts";
import { dataFolderOf } from "../data-option.ts";
import { only } from "./fleet-options.ts";
import type { serverAdoptSpec } from "./server.spec.ts";

export async function run({ context, args, options }: Invocation<typeof serverAdoptSpec.options>): Promise<number> {
  const { output } = context;
  const given = only(args, "repository");
  const storageUrl = /^[a-z0-9]+:/i.test(given) ? given : path.resolve(given);
  const dataFolder = path.resolve(dataFolderOf(options));
  const unlock = await readUnlock(context, { ...repositoryOptions(context), repo: storageUrl }, false);
  makeFolder(dataFolder);
  becomeOwnerOf(dataFolder);
  refuseServedRepository(storageUrl);
  const lock = lockDataFolder(dataFolder);
  const { database } = openDatabase(dataFile.database(dataFolder), Date.now());
  try {
    const adoption = await adoptRepository(
      database,
      dataFolder,
      { storageUrl, unlock, name: options.name },
      new Date(),
    );
    const { account, hosts, hostsToApprove, snapshots, damagedSnapshots, settings } = adoption;
    if (output.json) output.jsonLine({ message_type: "adopted", ...adoption });
    output.note(`The account "${account.name}" is back: ${hosts.length} hosts, ${snapshots} snapshots.`);
    if (settings === "none") output.note("The repository held no settings: its hosts have to enrol again.");
    if (hostsToApprove.length > 0) output.note(`To be approved (holdfast host approve): ${hostsToApprove.join(", ")}`);
    for (const id of damagedSnapshots) output.warning(`Warning: the snapshot ${id.slice(0, 8)} could not be read`);
    output.note(`Start the server: holdfast server --data ${dataFolder}`);
    return 0;
  } finally {
    await database.destroy();
    lock.release();
  }
}
