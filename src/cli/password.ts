/**
 * Where the password comes from, in this order: `--password-command`, `--password-file` (or their variables),
 * `HOLDFAST_PASSWORD`, the person at the terminal, and what is piped in. Never the command line, which others can see.
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { messageOf, UsageError } from "../errors.ts";
import { askSecretly } from "./ask-secretly.ts";

export interface PasswordSources {
  readonly passwordCommand: string | undefined;
  readonly passwordFile: string | undefined;
}

export interface PasswordRequest {
  /** For people: `enter password for repository /srv/b`. */
  readonly prompt: string;
  /** Asks a second time, because a mistake would lock everybody out. */
  readonly isNew: boolean;
  /** Variable that holds the password itself. */
  readonly variable: string;
  /** Standard input is wanted for something else. */
  readonly inputIsTaken: boolean;
  readonly signal: AbortSignal;
}

/** Throws `UsageError` where no source gives one, or it is empty. */
export async function readPassword(sources: PasswordSources, request: PasswordRequest): Promise<string> {
  const password = (await passwordFromOptions(sources, request)) ?? (await passwordFromPerson(request));
  if (password === "") {
    throw new UsageError("an empty password is not a password", { hint: "anybody could open the repository with it" });
  }
  return password;
}

async function passwordFromOptions(
  { passwordCommand, passwordFile }: PasswordSources,
  { variable, signal }: PasswordRequest,
): Promise<string | undefined> {
  if (passwordCommand !== undefined && passwordFile !== undefined) {
    throw new UsageError("both a password file and a password command are given", { hint: "choose one" });
  }
  if (passwordCommand !== undefined) return passwordFromCommand(passwordCommand, signal);
  if (passwordFile !== undefined) return passwordFromFile(passwordFile);
  return process.env[variable] || undefined;
}

async function passwordFromFile(file: string): Promise<string> {
  try {
    return withoutLineEnd(await readFile(file, "utf8"));
  } catch (error) {
    throw new UsageError(`could not read the password file ${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** What the command prints, through the shell, so that it may be quoted as on the command line. */
function passwordFromCommand(command: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile("/bin/sh", ["-c", command], { signal, maxBuffer: 64 * 1024 }, (error, stdout, stderr) => {
      if (error === null) return resolve(withoutLineEnd(stdout));
      const how = error.code === undefined || error.code === null ? error.message : `it ended with ${error.code}`;
      reject(new UsageError(`the password command failed: ${[how, stderr.trim()].filter(Boolean).join(": ")}`));
    });
    child.stdin?.end();
  });
}

async function passwordFromPerson(request: PasswordRequest): Promise<string> {
  const { inputIsTaken, isNew, prompt, signal, variable } = request;
  const isPiped = !inputIsTaken && !process.stdin.isTTY;
  const piped = isPiped ? await readAll(process.stdin) : "";
  if (piped !== "") return withoutLineEnd(piped);
  // Under cron nothing comes at all, which is another thing than an empty line.
  const password = isPiped ? undefined : await askSecretly(`${prompt}: `, signal);
  if (password === undefined) {
    throw new UsageError("no password is given, and there is no terminal to ask at", {
      hint: `use --password-file, --password-command or ${variable}`,
    });
  }
  if (isNew && (await askSecretly("enter it again: ", signal)) !== password) {
    throw new UsageError("the two passwords are not the same", { hint: "try again" });
  }
  return password;
}

async function readAll(stream: NodeJS.ReadStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** Files and commands end their only line with a line break, which is not part of the password. */
function withoutLineEnd(text: string): string {
  return text.replace(/\r?\n$/, "");
}
