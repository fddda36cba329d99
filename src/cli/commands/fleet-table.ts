/** The commands of a server and its administrators. */
import { command, type ListedCommand } from "../listed-command.ts";
import type { CommandGroup } from "../program.ts";

const agentSpecs = () => import("./agent.spec.ts");
const hostSpecs = () => import("./host.spec.ts");
const serverSpecs = () => import("./server.spec.ts");

export const fleetCommandGroups: readonly CommandGroup[] = [
  { name: "agent", summary: "let a server save this host" },
  { name: "host", summary: "manage the hosts of a server" },
  { name: "account", summary: "manage the accounts of a server" },
  { name: "policy", summary: "manage what hosts save and how long it stands" },
  { name: "runs", summary: "see what was done, and do it now" },
];

export const fleetCommands: readonly ListedCommand[] = [
  command("server", serverSpecs, "serverSpec", () => import("./server.ts")),
  command("server install", serverSpecs, "serverInstallSpec", () => import("./server-install.ts")),
  command("server adopt", serverSpecs, "serverAdoptSpec", () => import("./server-adopt.ts")),
  command("status", serverSpecs, "statusSpec", () => import("./status.ts")),
  command("host add", hostSpecs, "hostAddSpec", async () => (await import("./host.ts")).add),
  command("host list", hostSpecs, "hostListSpec", async () => (await import("./host.ts")).list),
  command("host show", hostSpecs, "hostShowSpec", async () => (await import("./host.ts")).show),
  command("host run", hostSpecs, "hostRunSpec", () => import("./host-run.ts")),
  command("host edit", hostSpecs, "hostEditSpec", async () => (await import("./host.ts")).edit),
  command("host test", hostSpecs, "hostTestSpec", async () => (await import("./host-pull.ts")).test),
  command("host remove", hostSpecs, "hostRemoveSpec", async () => (await import("./host.ts")).remove),
  command("host approve", hostSpecs, "hostApproveSpec", async () => (await import("./host.ts")).approve),
  command("host token", hostSpecs, "hostTokenSpec", async () => (await import("./host.ts")).token),
  command("account add", hostSpecs, "accountAddSpec", async () => (await import("./account.ts")).add),
  command("account list", hostSpecs, "accountListSpec", async () => (await import("./account.ts")).list),
  command("account show", hostSpecs, "accountShowSpec", async () => (await import("./account.ts")).show),
  command("account edit", hostSpecs, "accountEditSpec", async () => (await import("./account.ts")).edit),
  command("policy add", hostSpecs, "policyAddSpec", async () => (await import("./policy.ts")).add),
  command("policy list", hostSpecs, "policyListSpec", async () => (await import("./policy.ts")).list),
  command("policy show", hostSpecs, "policyShowSpec", async () => (await import("./policy.ts")).show),
  command("policy edit", hostSpecs, "policyEditSpec", async () => (await import("./policy.ts")).edit),
  command("policy remove", hostSpecs, "policyRemoveSpec", async () => (await import("./policy.ts")).remove),
  command("runs list", serverSpecs, "runsListSpec", async () => (await import("./runs.ts")).list),
  command("runs show", serverSpecs, "runsShowSpec", async () => (await import("./runs.ts")).show),
  command("runs follow", serverSpecs, "runsFollowSpec", async () => (await import("./runs.ts")).follow),
  command("runs accept", serverSpecs, "runsAcceptSpec", async () => (await import("./runs.ts")).accept),
  command("runs start", serverSpecs, "maintainSpec", async () => (await import("./runs.ts")).start),
  command("retention plan", serverSpecs, "retentionPlanSpec", () => import("./retention-plan.ts")),
  command("enrol", hostSpecs, "enrolSpec", () => import("./enrol.ts")),
  command("agent setup", agentSpecs, "agentSetupSpec", async () => (await import("./agent.ts")).setup),
  command("agent run", agentSpecs, "agentRunSpec", async () => (await import("./agent.ts")).run),
  command("agent plan", agentSpecs, "agentPlanSpec", async () => (await import("./agent.ts")).plan),
  command("agent status", agentSpecs, "agentStatusSpec", async () => (await import("./agent.ts")).status),
  command("agent snapshots", agentSpecs, "agentSnapshotsSpec", async () => (await import("./agent.ts")).snapshots),
  command("agent restore", agentSpecs, "agentRestoreSpec", async () => (await import("./agent.ts")).restore),
  command("agent rotate-key", agentSpecs, "agentRotateKeySpec", async () => (await import("./agent.ts")).rotateKey),
  command("agent remove", agentSpecs, "agentRemoveSpec", async () => (await import("./agent.ts")).remove),
];
