import { cacheDirectory } from "../platform/cache-directory.ts";
import type { Context } from "./context.ts";

/** Where to keep what makes the next run faster; undefined with `--no-cache`. */
export function cacheFolder({ settings }: Context): string | undefined {
  if (!settings.cache) return undefined;
  return settings.cacheDir ?? cacheDirectory();
}
