import { encryptKeyFile } from "../../crypto/key-file.ts";
import { UsageError } from "../../errors.ts";
import { PREFIXES } from "../../format/names.ts";
import { storeKeyFile } from "../../repository/repository.ts";
import type { Invocation } from "../command-spec.ts";
import { userAtHost } from "../host-identity.ts";
import { openFromSettings } from "../open-repository.ts";
import type { keyPasswdSpec } from "./key.spec.ts";
import { readNewPassword } from "./new-key.ts";

export async function run({ context, options }: Invocation<typeof keyPasswdSpec.options>): Promise<number> {
  if (context.settings.identityFile !== undefined) {
    throw new UsageError("the key of an age identity has no password to change", { hint: 'see "holdfast key add"' });
  }
  const repository = await openFromSettings(context);
  const { storage, ring, keyId } = repository;
  const passphrase = await readNewPassword(context, options, repository);
  // The new one first: at no moment is there none.
  const label = repository.keyNotes?.get(keyId ?? "")?.label ?? userAtHost();
  const id = await storeKeyFile(storage, await encryptKeyFile(ring, label, { passphrase }));
  if (keyId !== undefined) await storage.delete(PREFIXES.key + keyId);
  if (context.output.json) context.output.jsonLine({ message_type: "key_changed", id });
  context.output.note(`saved new key ${id.slice(0, 8)}, removed the old one`);
  return 0;
}
