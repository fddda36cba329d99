import { randomBytes } from "node:crypto";
import { atEnd } from "./at-end.ts";
import type { Cleanup } from "./at-end.ts";
import { run, runOk } from "./run-command.ts";

/** Another machine, as far as the network is concerned. Needs root. */
export interface NetworkNamespace {
  readonly name: string;
  /** Address at which the namespace is reached from outside. */
  readonly address: string;
  /** Address at which the outside is reached from within. */
  readonly outsideAddress: string;
  /** Put before a command so that it runs within: `["ip", "netns", "exec", name]`. */
  readonly prefix: readonly string[];
}

/** A network namespace joined to this one by a pair of virtual cards, until the test ends. */
export async function createNetworkNamespace(t: Cleanup): Promise<NetworkNamespace> {
  const id = randomBytes(3).toString("hex");
  const name = `holdfast-${id}`;
  // Somewhere in 198.18.0.0/15, which RFC 2544 sets aside for tests; /30 gives each pair a network of its own.
  const network = randomBytes(2).readUInt16BE() & ~3;
  const addressOf = (host: number): string => `198.18.${network >> 8}.${(network & 0xfc) + host}`;
  const outside = `hf${id}o`;
  const inside = `hf${id}i`;

  await runOk("ip", ["netns", "add", name]);
  atEnd(t, async () => {
    await run("ip", ["link", "del", outside]);
    await runOk("ip", ["netns", "del", name]);
  });
  await runOk("ip", ["link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name]);
  await runOk("ip", ["address", "add", `${addressOf(1)}/30`, "dev", outside]);
  await runOk("ip", ["link", "set", outside, "up"]);
  const prefix = ["ip", "netns", "exec", name];
  await runOk("ip", ["-n", name, "address", "add", `${addressOf(2)}/30`, "dev", inside]);
  await runOk("ip", ["-n", name, "link", "set", inside, "up"]);
  await runOk("ip", ["-n", name, "link", "set", "lo", "up"]);
  return { name, address: addressOf(2), outsideAddress: addressOf(1), prefix };
}
