import { readConfig } from "../../repository/repository.ts";
import { removeNotes } from "../../repository/running.ts";
import { openStorage } from "../../storage/open.ts";
import { untilEnd } from "../at-end.ts";
import type { Invocation } from "../command-spec.ts";
import { repositoryOptions, requireRepository } from "../open-repository.ts";
import type { unlockSpec } from "./unlock.spec.ts";

export async function run({ context, options }: Invocation<typeof unlockSpec.options>): Promise<number> {
  const { output } = context;
  const storage = untilEnd(await openStorage(requireRepository(repositoryOptions(context))));
  await readConfig(storage);
  const { removed, kept } = await removeNotes(storage, options.removeAll);
  if (output.json) {
    output.jsonLine({ message_type: "summary", removed_notes: removed, kept_notes: kept.length });
    return 0;
  }
  output.note(removed === 0 ? "there was nothing to remove" : `removed ${removed} note${removed === 1 ? "" : "s"}`);
  for (const note of kept) {
    output.note(`kept that of a ${note.what} on ${note.host} (process ${note.process}, since ${note.started})`);
  }
  return 0;
}
