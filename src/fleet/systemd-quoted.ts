/** A word of a command line in a unit of systemd, quoted only where that is needed (systemd.service(5), systemd.syntax(7)). */
export function systemdQuoted(text: string): string {
  const safe = text.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[\w@%+=:,./-]+$/.test(safe) ? safe : `"${safe.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
