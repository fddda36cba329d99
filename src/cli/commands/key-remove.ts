import { UsageError } from "../../errors.ts";
import { PREFIXES } from "../../format/names.ts";
import { listKeyFiles } from "../../repository/repository.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import type { keyRemoveSpec } from "./key.spec.ts";

export async function run({ context, args }: Invocation<typeof keyRemoveSpec.options>): Promise<number> {
  const [prefix] = args;
  const repository = await openFromSettings(context);
  const ids = (await listKeyFiles(repository.storage)).map(({ name }) => name.slice(PREFIXES.key.length));
  const matching = ids.filter((id) => prefix !== "" && id.startsWith(prefix));
  if (matching.length !== 1) {
    throw new UsageError(matching.length === 0 ? `there is no key ${prefix}` : `several keys begin with ${prefix}`, {
      hint: 'see "holdfast key list"',
    });
  }
  const [id] = matching;
  if (id === repository.keyId || ids.length === 1) {
    throw new UsageError("refusing to remove the key that is in use", {
      hint: "open the repository with another key to remove this one",
    });
  }
  await repository.storage.delete(PREFIXES.key + id);
  if (context.output.json) context.output.jsonLine({ message_type: "key_removed", id });
  context.output.note(`removed key ${id.slice(0, 8)}`);
  return 0;
}
