/** Every command that there is. */
import type { CommandModule, CommandSpec, OptionSpecs } from "../command-spec.ts";
import type { CommandEntry, CommandGroup } from "../program.ts";
import { backupSpec } from "./backup.spec.ts";
import { completionSpec } from "./completion.spec.ts";
import { initSpec } from "./init.spec.ts";
import { diffSpec } from "./diff.spec.ts";
import { dumpSpec } from "./dump.spec.ts";
import { findSpec } from "./find.spec.ts";
import { lsSpec } from "./ls.spec.ts";
import { snapshotsSpec } from "./snapshots.spec.ts";
import { versionSpec } from "./version.spec.ts";

export const commandGroups: readonly CommandGroup[] = [];

export const commandEntries: readonly CommandEntry[] = [
  command(initSpec, () => import("./init.ts")),
  command(backupSpec, () => import("./backup.ts")),
  command(snapshotsSpec, () => import("./snapshots.ts")),
  command(lsSpec, () => import("./ls.ts")),
  command(findSpec, () => import("./find.ts")),
  command(diffSpec, () => import("./diff.ts")),
  command(dumpSpec, () => import("./dump.ts")),
  command(completionSpec, () => import("./completion.ts")),
  command(versionSpec, () => import("./version.ts")),
];

/** Sees to it that the code takes what the spec gives. */
function command<Options extends OptionSpecs>(
  spec: CommandSpec<Options>,
  load: () => Promise<CommandModule<Options>>,
): CommandEntry {
  return { spec, load: load as CommandEntry["load"] };
}
