/**
 * New keys for a host that is set up. They lie beside the old ones, which go on counting until an administrator of the
 * server has approved the new ones; then they take the old ones' place.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { askServer } from "./ask.ts";
import { offerKeys, type SetupRequest } from "./enrol.ts";
import { agentFile, connectTo, readAgentSettings } from "./state.ts";

export interface Rotation {
  readonly host: string;
  /** `changed`: the new keys are the host's own from now on. */
  readonly state: "changed" | "pending-approval";
}

/** Makes new keys, where none wait, and offers them; or takes them over, where they were approved. */
export async function rotateKeys(folder: string, enrol: SetupRequest["enrol"]): Promise<Rotation> {
  const { host } = readAgentSettings(folder);
  const { state } = await offerKeys(agentFile.nextKeys(folder), host, enrol);
  if (state === "active") takeOverKeys(folder);
  return { host, state: state === "active" ? "changed" : "pending-approval" };
}

/** Whether the server knows the new keys by now; then they are the host's own. */
export async function completeRotation(folder: string, program: string, signal: AbortSignal): Promise<boolean> {
  const next = agentFile.nextKeys(folder);
  if (!existsSync(agentFile.sshKey(next))) return false;
  const settings = readAgentSettings(folder);
  // There ssh proves nothing, so it says nothing of the keys.
  if ("dataFolder" in settings.server) return false;
  const connect = () => connectTo(settings, agentFile.sshKey(next), agentFile.knownHosts(folder));
  await askServer({ connect }, program, signal);
  takeOverKeys(folder);
  return true;
}

/** Cut off in between, it goes on with the next call: what was moved already is not there any more. */
function takeOverKeys(folder: string): void {
  const next = agentFile.nextKeys(folder);
  for (const file of [agentFile.signingKey, agentFile.sshKeySeed, agentFile.sshKey]) {
    if (existsSync(file(next))) renameSync(file(next), file(folder));
  }
  rmSync(next, { recursive: true, force: true });
}
