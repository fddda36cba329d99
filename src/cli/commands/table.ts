/** Every command that there is. */
import { command, type ListedCommand } from "../listed-command.ts";
import type { CommandGroup } from "../program.ts";
import { fleetCommands, fleetCommandGroups } from "./fleet-table.ts";

const backupSpecs = () => import("./backup.spec.ts");
const catSpecs = () => import("./cat.spec.ts");
const checkSpecs = () => import("./check.spec.ts");
const completionSpecs = () => import("./completion.spec.ts");
const copySpecs = () => import("./copy.spec.ts");
const diffSpecs = () => import("./diff.spec.ts");
const dumpSpecs = () => import("./dump.spec.ts");
const findSpecs = () => import("./find.spec.ts");
const forgetSpecs = () => import("./forget.spec.ts");
const initSpecs = () => import("./init.spec.ts");
const keySpecs = () => import("./key.spec.ts");
const lsSpecs = () => import("./ls.spec.ts");
const pruneSpecs = () => import("./prune.spec.ts");
const repairSpecs = () => import("./repair.spec.ts");
const restoreSpecs = () => import("./restore.spec.ts");
const retentionSimulateSpecs = () => import("./retention-simulate.spec.ts");
const snapshotsSpecs = () => import("./snapshots.spec.ts");
const statsSpecs = () => import("./stats.spec.ts");
const unlockSpecs = () => import("./unlock.spec.ts");
const versionSpecs = () => import("./version.spec.ts");

export const commandGroups: readonly CommandGroup[] = [
  { name: "key", summary: "manage the keys that open the repository" },
  { name: "repair", summary: "put a damaged repository in order" },
  { name: "retention", summary: "see what retention policies do" },
  ...fleetCommandGroups,
];

export const commandTable: readonly ListedCommand[] = [
  command("init", initSpecs, "initSpec", () => import("./init.ts")),
  command("backup", backupSpecs, "backupSpec", () => import("./backup.ts")),
  command("snapshots", snapshotsSpecs, "snapshotsSpec", () => import("./snapshots.ts")),
  command("ls", lsSpecs, "lsSpec", () => import("./ls.ts")),
  command("find", findSpecs, "findSpec", () => import("./find.ts")),
  command("diff", diffSpecs, "diffSpec", () => import("./diff.ts")),
  command("stats", statsSpecs, "statsSpec", () => import("./stats.ts")),
  command("dump", dumpSpecs, "dumpSpec", () => import("./dump.ts")),
  command("restore", restoreSpecs, "restoreSpec", () => import("./restore.ts")),
  command("check", checkSpecs, "checkSpec", () => import("./check.ts")),
  command("forget", forgetSpecs, "forgetSpec", () => import("./forget.ts")),
  command("prune", pruneSpecs, "pruneSpec", () => import("./prune.ts")),
  command(
    "retention simulate",
    retentionSimulateSpecs,
    "retentionSimulateSpec",
    () => import("./retention-simulate.ts"),
  ),
  command("copy", copySpecs, "copySpec", () => import("./copy.ts")),
  command("repair index", repairSpecs, "repairIndexSpec", () => import("./repair-index.ts")),
  command("repair packs", repairSpecs, "repairPacksSpec", () => import("./repair-packs.ts")),
  command("repair snapshots", repairSpecs, "repairSnapshotsSpec", () => import("./repair-snapshots.ts")),
  command("key list", keySpecs, "keyListSpec", () => import("./key-list.ts")),
  command("key add", keySpecs, "keyAddSpec", () => import("./key-add.ts")),
  command("key remove", keySpecs, "keyRemoveSpec", () => import("./key-remove.ts")),
  command("key passwd", keySpecs, "keyPasswdSpec", () => import("./key-passwd.ts")),
  command("unlock", unlockSpecs, "unlockSpec", () => import("./unlock.ts")),
  command("cat", catSpecs, "catSpec", () => import("./cat.ts")),
  ...fleetCommands,
  command("completion", completionSpecs, "completionSpec", () => import("./completion.ts")),
  command("version", versionSpecs, "versionSpec", () => import("./version.ts")),
];
