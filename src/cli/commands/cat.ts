import { UsageError } from "../../errors.ts";
import { encodeConfig } from "../../format/config.ts";
import { findSnapshot } from "../../repository/snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { snapshotJson } from "../snapshot-json.ts";
import type { catSpec } from "./cat.spec.ts";

export async function run({ context, args }: Invocation<typeof catSpec.options>): Promise<number> {
  const { output } = context;
  const [what, id] = args;
  if (what !== "config" && what !== "snapshot") {
    throw new UsageError(`"${what}" is nothing that can be printed`, { hint: "use config or snapshot" });
  }
  if (what === "snapshot" && id === undefined) throw new UsageError("it is not said which snapshot");
  if (what === "config" && id !== undefined) throw new UsageError("there is only one config, and it has no id");
  const repository = await openFromSettings(context);
  if (what === "config") output.line(encodeConfig(repository.config).toString("utf8").trimEnd());
  else output.line(JSON.stringify(snapshotJson(await findSnapshot(repository, id)), undefined, 2));
  return 0;
}
