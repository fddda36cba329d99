/** The value of an option of ssh's configuration that is a path: blanks and quotes would end it, and `%h` be replaced. */
export function sshOptionPath(file: string): string {
  return `"${file.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%")}"`;
}
