import type { Pace, Rate } from "../storage/pace.ts";
import { createTokenBucket } from "../wire/token-bucket.ts";
import type { Context } from "./context.ts";

/** Slices go about so often in a second. */
const SLICES_A_SECOND = 8;

/** What `--limit-upload` and `--limit-download` say of storage; undefined where neither is given. */
export function paceOf({ settings }: Context): Pace | undefined {
  const { limitUpload, limitDownload } = settings;
  if (limitUpload === undefined && limitDownload === undefined) return undefined;
  return { upload: rateOf(limitUpload), download: rateOf(limitDownload) };
}

function rateOf(bytesPerSecond: number | undefined): Rate {
  const sliceBytes =
    bytesPerSecond === undefined ? Infinity : Math.max(1, Math.floor(bytesPerSecond / SLICES_A_SECOND));
  return { sliceBytes, take: createTokenBucket(bytesPerSecond).take };
}
