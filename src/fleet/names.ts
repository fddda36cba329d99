import { UsageError } from "../errors.ts";

/**
 * Names of hosts, accounts and policies stand in file names, in authorized_keys and on command lines, so they are plain.
 * Throws `UsageError`.
 */
export function checkName(kind: "host" | "account" | "policy", name: string): string {
  if (/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/.test(name)) return name;
  throw new UsageError(
    `${JSON.stringify(name.slice(0, 100))} cannot be the name of ${kind === "account" ? "an" : "a"} ${kind}`,
    {
      hint: "use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit",
    },
  );
}
