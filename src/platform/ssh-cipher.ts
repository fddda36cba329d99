import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** 256-bit keys first, as those of OpenSSH's own first choice. */
const HARDWARE_CIPHERS = ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"];
const SOFTWARE_CIPHER = "chacha20-poly1305@openssh.com";
const ASK_MS = 2000;

/**
 * Options for `ssh` that let it encrypt with what processors do by themselves. OpenSSH's own first choice,
 * ChaCha20-Poly1305, is made for processors without AES, and takes three times as long on the others.
 *
 * Only the order changes: what `ssh` would not use with `args` (its options, as they will be given, and the destination)
 * and with the settings of whoever calls, it does not use now. Where these name ciphers in an order without ChaCha20 at
 * its head, they stay as they are; so they do where ssh cannot be asked.
 */
export function fastCipherOptions(program: string, args: readonly string[]): string[] {
  if (!/(?:^|\/)ssh$/.test(program) || !hasAesInstructions()) return [];
  const offered = ciphersOf(program, args);
  const fast = HARDWARE_CIPHERS.filter((cipher) => offered.includes(cipher));
  if (offered[0] !== SOFTWARE_CIPHER || fast.length === 0) return [];
  return [`-oCiphers=${[...fast, ...offered.filter((cipher) => !fast.includes(cipher))].join(",")}`];
}

/** What ssh would offer (ssh(1), `-G`). */
function ciphersOf(program: string, args: readonly string[]): string[] {
  try {
    const settings = execFileSync(program, ["-G", ...args], {
      encoding: "utf8",
      timeout: ASK_MS,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return /^ciphers (\S+)$/m.exec(settings)?.[1].split(",") ?? [];
  } catch {
    return [];
  }
}

let isKnown: boolean | undefined;

function hasAesInstructions(): boolean {
  isKnown ??= /^(?:flags|Features)\s*:.*\baes\b/m.test(processorDescription());
  return isKnown;
}

function processorDescription(): string {
  try {
    return readFileSync("/proc/cpuinfo", "latin1");
  } catch {
    return "";
  }
}
