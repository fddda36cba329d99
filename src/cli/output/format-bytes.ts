import { UsageError } from "../../errors.ts";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `512 B`, `1.234 GiB`. */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let amount = bytes;
  // 1023.9996 would be shown as 1024.000.
  while (unit < UNITS.length - 1 && amount >= (unit === 0 ? 1024 : 1023.9995)) {
    amount /= 1024;
    unit++;
  }
  return unit === 0 ? `${Math.round(amount)} B` : `${amount.toFixed(3)} ${UNITS[unit]}`;
}

/**
 * From `5G`, `10MiB`, `1.5T`, `1024`: a number of bytes, or of KiB, MiB, GiB or TiB (1 KiB = 1024 bytes).
 * Throws `UsageError`.
 */
export function parseBytes(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?(?:b|([kmgt])(?:ib)?)?$/i.exec(text.trim());
  const power = match === null ? NaN : " kmgt".indexOf((match[2] ?? " ").toLowerCase());
  const bytes = match === null ? NaN : Math.floor(Number(match[1]) * 1024 ** power);
  if (!Number.isSafeInteger(bytes)) {
    throw new UsageError(`"${text}" is not a size`, { hint: "write it like 500M, 10GiB or 1.5T (1K = 1024 bytes)" });
  }
  return bytes;
}
