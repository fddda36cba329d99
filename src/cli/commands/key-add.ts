import { encryptKeyFile } from "../../crypto/key-file.ts";
import { UsageError } from "../../errors.ts";
import { storeKeyFile } from "../../repository/repository.ts";
import type { Invocation } from "../command-spec.ts";
import { userAtHost } from "../host-identity.ts";
import { openFromSettings } from "../open-repository.ts";
import type { keyAddSpec } from "./key.spec.ts";
import { readNewPassword } from "./new-key.ts";

export async function run({ context, options }: Invocation<typeof keyAddSpec.options>): Promise<number> {
  const { recipient: recipients, newPasswordFile, newPasswordCommand } = options;
  const hasPassword = newPasswordFile !== undefined || newPasswordCommand !== undefined;
  if (recipients.length > 0 && hasPassword) {
    throw new UsageError("a key opens either with a password or for recipients", { hint: "add two keys" });
  }
  const repository = await openFromSettings(context);
  const lock =
    recipients.length > 0 ? { recipients } : { passphrase: await readNewPassword(context, options, repository) };
  const bytes = await encryptKeyFile(repository.ring, options.label ?? userAtHost(), lock);
  const id = await storeKeyFile(repository.storage, bytes);
  if (context.output.json) context.output.jsonLine({ message_type: "key_added", id });
  context.output.note(`saved new key ${id.slice(0, 8)}`);
  return 0;
}
