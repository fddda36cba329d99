import { UsageError } from "../../errors.ts";
import { CLIENT_CAPABILITIES } from "./protocol/handshake.ts";

/** What we ask the rsync at the other end to send. */
export interface PullRequest {
  /** Absolute paths, or relative to the login's home folder. */
  readonly paths: readonly string[];
  readonly oneFileSystem: boolean;
  readonly compress: boolean;
  /**
   * "full": hard links, ACLs, extended attributes, names of owners. "plain": exactly what an old forced command may be
   * waiting for, `rsync --server --sender -logDtprR --numeric-ids . /PATH`, and so none of these.
   */
  readonly profile: PullProfile;
}

export type PullProfile = "full" | "plain";

/** Arguments of the remote rsync, first its name. */
export function pullArguments(request: PullRequest, program = "rsync"): string[] {
  const { paths } = request;
  if (request.profile === "plain")
    return [program, "--server", "--sender", "-logDtprR", "--numeric-ids", ".", ...paths];
  // Letters in the order in which rsync itself writes them.
  const letters = `-lHogDtpAXrR${request.oneFileSystem ? "x" : ""}${request.compress ? "z" : ""}`;
  return [program, "--server", "--sender", letters + CLIENT_CAPABILITIES, ".", ...paths];
}

/** For a shell to take apart again. As rsync does it, so that wrappers that know rsync understand it too. */
export function shellCommand(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}

function shellWord(word: string): string {
  if (word === "") return "''";
  // A backslash before a newline would join two lines.
  if (/[\n\r]/.test(word)) return `'${word.replaceAll("'", "'\\''")}'`;
  return word.replace(/[^A-Za-z0-9_%+,./:=@^\u0080-\uffff-]/g, "\\$&");
}

/**
 * Takes a path from the command line: without `.` parts, repeated slashes and a slash at the end. `..` is refused,
 * because only the other host could say where it leads.
 */
export function normaliseRemotePath(text: string): string {
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) {
    throw new UsageError(`a path on another host cannot have a part "..": ${text}`, { hint: "write it out in full" });
  }
  const joined = parts.join("/");
  if (text.startsWith("/")) return `/${joined}`;
  return joined === "" ? "." : joined.startsWith("-") ? `./${joined}` : joined;
}

/**
 * Splits a remote shell's command line as given to `-e`: at white space, with quotes that keep it together (rsync(1),
 * "--rsh").
 */
export function splitShellCommand(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (quote !== "") {
      if (char !== quote) word = (word ?? "") + char;
      // A doubled quote stands for itself.
      else if (text[i + 1] === quote) word = (word ?? "") + text[++i];
      else quote = "";
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= "";
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + char;
    }
  }
  if (quote !== "") throw new UsageError(`a quote is not closed in the remote shell's command: ${text}`);
  if (word !== undefined) words.push(word);
  if (words.length === 0) throw new UsageError("the remote shell's command is empty");
  return words;
}
