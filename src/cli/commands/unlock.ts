import { readConfig } from "../../repository/repository.ts";
import { removeAllNotes } from "../../repository/running.ts";
import { openStorage } from "../../storage/open.ts";
import type { Invocation } from "../command-spec.ts";
import { repositoryOptions, requireRepository } from "../open-repository.ts";
import type { unlockSpec } from "./unlock.spec.ts";

export async function run({ context }: Invocation<typeof unlockSpec.options>): Promise<number> {
  const storage = await openStorage(requireRepository(repositoryOptions(context)));
  await readConfig(storage);
  const removed = await removeAllNotes(storage);
  if (context.output.json) context.output.jsonLine({ message_type: "summary", removed_notes: removed });
  context.output.note(removed === 0 ? "there was nothing to remove" : `removed ${removed} notes`);
  return 0;
}
