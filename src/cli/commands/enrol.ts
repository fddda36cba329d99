import { text } from "node:stream/consumers";
import { UsageError } from "../../errors.ts";
import type { Invocation } from "../command-spec.ts";
import { serverOf } from "../server-access.ts";
import type { enrolSpec } from "./host.spec.ts";

const MAXIMUM_INPUT_CHARACTERS = 64 * 1024;

/** Reads `{"signingKey": …, "sshKey": …}` and prints what the server answers, as JSON. */
export async function run({ context: { output }, options }: Invocation<typeof enrolSpec.options>): Promise<number> {
  if (options.host === undefined) throw new UsageError("no host is named", { hint: "give --host" });
  const input = await text(process.stdin);
  if (input.length > MAXIMUM_INPUT_CHARACTERS) throw new UsageError("what came is too long for the keys of a host");
  let keys: unknown;
  try {
    keys = JSON.parse(input);
  } catch (cause) {
    throw new UsageError("the keys of a host must come as JSON on standard input", { cause });
  }
  const wanted = /--host (\S+)$/.exec(process.env.SSH_ORIGINAL_COMMAND ?? "")?.[1];
  if (options.withToken && wanted !== undefined && wanted !== options.host) {
    throw new UsageError(`this token is for the host "${options.host}", not for "${wanted}"`);
  }
  const body = { host: options.host, keys, withToken: options.withToken };
  output.jsonLine(await serverOf(options).call("POST", "/v1/enrol", body));
  return 0;
}
