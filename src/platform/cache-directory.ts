import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/**
 * Where Holdfast keeps what it can always make anew: `HOLDFAST_CACHE_DIR`, or `holdfast` in `XDG_CACHE_HOME`, or
 * `~/.cache/holdfast`. The folder may not exist yet.
 */
export function cacheDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const own = environment.HOLDFAST_CACHE_DIR;
  if (own !== undefined && own !== "") return own;
  const shared = environment.XDG_CACHE_HOME;
  // The XDG specification has relative paths ignored.
  if (shared !== undefined && isAbsolute(shared)) return join(shared, "holdfast");
  return join(environment.HOME || homedir(), ".cache", "holdfast");
}
