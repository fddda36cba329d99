/** Every command that there is. */
import { command } from "../command-entry.ts";
import type { CommandEntry, CommandGroup } from "../program.ts";
import { backupSpec } from "./backup.spec.ts";
import { completionSpec } from "./completion.spec.ts";
import { initSpec } from "./init.spec.ts";
import { diffSpec } from "./diff.spec.ts";
import { dumpSpec } from "./dump.spec.ts";
import { findSpec } from "./find.spec.ts";
import { lsSpec } from "./ls.spec.ts";
import { snapshotsSpec } from "./snapshots.spec.ts";
import { forgetSpec } from "./forget.spec.ts";
import { keyAddSpec, keyListSpec, keyPasswdSpec, keyRemoveSpec } from "./key.spec.ts";
import { pruneSpec } from "./prune.spec.ts";
import { statsSpec } from "./stats.spec.ts";
import { checkSpec } from "./check.spec.ts";
import { copySpec } from "./copy.spec.ts";
import { repairIndexSpec, repairPacksSpec, repairSnapshotsSpec } from "./repair.spec.ts";
import { restoreSpec } from "./restore.spec.ts";
import { catSpec } from "./cat.spec.ts";
import { retentionSimulateSpec } from "./retention-simulate.spec.ts";
import { unlockSpec } from "./unlock.spec.ts";
import { versionSpec } from "./version.spec.ts";
import { fleetCommandEntries, fleetCommandGroups } from "./fleet-table.ts";

export const commandGroups: readonly CommandGroup[] = [
  { name: "key", summary: "manage the keys that open the repository" },
  { name: "repair", summary: "put a damaged repository in order" },
  { name: "retention", summary: "see what retention policies do" },
  ...fleetCommandGroups,
];

export const commandEntries: readonly CommandEntry[] = [
  command(initSpec, () => import("./init.ts")),
  command(backupSpec, () => import("./backup.ts")),
  command(snapshotsSpec, () => import("./snapshots.ts")),
  command(lsSpec, () => import("./ls.ts")),
  command(findSpec, () => import("./find.ts")),
  command(diffSpec, () => import("./diff.ts")),
  command(statsSpec, () => import("./stats.ts")),
  command(dumpSpec, () => import("./dump.ts")),
  command(restoreSpec, () => import("./restore.ts")),
  command(checkSpec, () => import("./check.ts")),
  command(forgetSpec, () => import("./forget.ts")),
  command(pruneSpec, () => import("./prune.ts")),
  command(retentionSimulateSpec, () => import("./retention-simulate.ts")),
  command(copySpec, () => import("./copy.ts")),
  command(repairIndexSpec, () => import("./repair-index.ts")),
  command(repairPacksSpec, () => import("./repair-packs.ts")),
  command(repairSnapshotsSpec, () => import("./repair-snapshots.ts")),
  command(keyListSpec, () => import("./key-list.ts")),
  command(keyAddSpec, () => import("./key-add.ts")),
  command(keyRemoveSpec, () => import("./key-remove.ts")),
  command(keyPasswdSpec, () => import("./key-passwd.ts")),
  command(unlockSpec, () => import("./unlock.ts")),
  command(catSpec, () => import("./cat.ts")),
  ...fleetCommandEntries,
  command(completionSpec, () => import("./completion.ts")),
  command(versionSpec, () => import("./version.ts")),
];
