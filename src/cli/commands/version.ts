import type { Invocation } from "../command-spec.ts";
import { programVersion } from "../program-version.ts";
import type { versionSpec } from "./version.spec.ts";

export async function run({ context: { output } }: Invocation<typeof versionSpec.options>): Promise<number> {
  const version = programVersion();
  if (output.json) {
    const { platform, arch, version: node } = process;
    output.jsonLine({ message_type: "version", version, node_version: node, os: platform, arch });
  } else {
    output.line(`holdfast ${version} on Node ${process.version}, ${process.platform}/${process.arch}`);
  }
  return 0;
}
