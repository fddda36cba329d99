import { createRepository } from "../../repository/repository.ts";
import { createStorage } from "../../storage/open.ts";
import { untilEnd } from "../at-end.ts";
import type { Invocation } from "../command-spec.ts";
import { userAtHost } from "../host-identity.ts";
import { repositoryOptions, requireRepository } from "../open-repository.ts";
import { readPassword } from "../password.ts";
import type { initSpec } from "./init.spec.ts";

export async function run({ context }: Invocation<typeof initSpec.options>): Promise<number> {
  const { output, settings, signal } = context;
  const place = requireRepository(repositoryOptions(context));
  const passphrase = await readPassword(settings, {
    prompt: "enter password for new repository",
    isNew: true,
    variable: "HOLDFAST_PASSWORD",
    inputIsTaken: false,
    signal,
  });
  const storage = untilEnd(await createStorage(place));
  const { config } = await createRepository(storage, { passphrase, label: userAtHost(), now: new Date() });
  const id = config.id.toString("hex");
  if (output.json) output.jsonLine({ message_type: "initialized", id, repository: storage.location });
  output.note(`created repository ${id.slice(0, 10)} at ${storage.location}`);
  output.note("");
  output.note("Keep the password, or a copy of keys/ with a password you know, in a place that outlives this machine:");
  output.note("without it nothing of what will be saved can be read again.");
  return 0;
}
