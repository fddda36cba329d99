/** From the global options to an open repository. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { messageOf, UsageError } from "../errors.ts";
import { openRepository, readConfig, type Repository, type Unlock } from "../repository/repository.ts";
import { openStorage } from "../storage/open.ts";
import { readOnlyStorage } from "../storage/read-only.ts";
import { closeAtEnd, untilEnd } from "./at-end.ts";
import type { Context } from "./context.ts";
import { dataFolderOf } from "./data-option.ts";
import { paceOf } from "./pace.ts";
import { readPassword } from "./password.ts";
import { programVersion } from "./program-version.ts";

/** Where a repository is, and what opens it. */
export interface RepositoryOptions {
  readonly repo: string | undefined;
  readonly passwordFile: string | undefined;
  readonly passwordCommand: string | undefined;
  readonly identityFile: string | undefined;
  /** The beginning of the id of the key to try first. */
  readonly keyHint: string | undefined;
  /** Variable that holds the password. */
  readonly variable: string;
}

export function repositoryOptions({ settings }: Context): RepositoryOptions {
  const { repo, repositoryFile } = settings;
  return { ...settings, repo: repositoryOf(repo, repositoryFile, "--repo"), variable: "HOLDFAST_PASSWORD" };
}

/** The repository that is named itself, or in a file. `option` names it. Throws `UsageError` where both are. */
export function repositoryOf(
  repo: string | undefined,
  file: string | undefined,
  option: "--repo" | "--from-repo",
): string | undefined {
  if (file === undefined) return repo;
  if (repo !== undefined) {
    throw new UsageError(`the repository is named by ${option} and in a file`, {
      hint: `use one of ${option} and ${option.replace("repo", "repository")}-file, or of the variables that stand for them`,
    });
  }
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new UsageError(`could not read the repository file ${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** Throws `UsageError` where no repository is named. */
export function requireRepository({ repo }: RepositoryOptions): string {
  if (repo !== undefined && repo !== "") return repo;
  throw new UsageError("no repository is named", {
    hint: "use --repo or --repository-file, or set HOLDFAST_REPOSITORY",
  });
}

/** Opens the repository that the command is about. `inputIsTaken`: standard input holds data, and so no password. */
export async function openFromSettings(context: Context, inputIsTaken = false): Promise<Repository> {
  return openFromOptions(context, repositoryOptions(context), inputIsTaken);
}

/** Before the folder of an agent: the repository as this host's server shows it. */
export const AGENT_REPOSITORY = "agent:";

/**
 * Before the name of an account of a server on this machine: all of its hosts, only to read. With the key that the server
 * has, or where that cannot read with the owner's.
 */
export const ACCOUNT_REPOSITORY = "account:";

export async function openFromOptions(
  context: Context,
  options: RepositoryOptions,
  inputIsTaken = false,
): Promise<Repository> {
  if (options.repo?.startsWith(AGENT_REPOSITORY) === true) {
    return openThroughAgent(context, options.repo.slice(AGENT_REPOSITORY.length));
  }
  if (options.repo?.startsWith(ACCOUNT_REPOSITORY) === true) {
    return openAccount(context, options, options.repo.slice(ACCOUNT_REPOSITORY.length), inputIsTaken);
  }
  const storage = untilEnd(await openStorage(requireRepository(options), { pace: paceOf(context) }));
  // Before a password is asked for: it may be the wrong place.
  await readConfig(storage);
  return openRepository(storage, await readUnlock(context, options, inputIsTaken), { keyHint: options.keyHint });
}

async function openAccount(
  context: Context,
  options: RepositoryOptions,
  name: string,
  inputIsTaken: boolean,
): Promise<Repository> {
  const { readKeyRing, storageOfAccount } = await import("../fleet/accounts.ts");
  const data = dataFolderOf({ data: process.env.HOLDFAST_DATA });
  const storage = readOnlyStorage(untilEnd(await openStorage(storageOfAccount(data, name), { pace: paceOf(context) })));
  await readConfig(storage);
  if (options.identityFile !== undefined) {
    return openRepository(storage, await readUnlock(context, options, inputIsTaken));
  }
  const ring = readKeyRing(data, name);
  if (ring.privateKey !== undefined) return openRepository(storage, { ring });
  throw new UsageError(`the server cannot read what the account "${name}" keeps: only its owner can`, {
    hint: "give the recovery key: --identity-file FILE",
  });
}

async function openThroughAgent({ signal, settings }: Context, folder: string): Promise<Repository> {
  // Loaded only now: other commands should not wait for it.
  const { openThroughServer } = await import("../agent/run.ts");
  const { DEFAULT_AGENT_FOLDER, readAgent } = await import("../agent/state.ts");
  const agentFolder = folder === "" ? DEFAULT_AGENT_FOLDER : folder;
  const program = `holdfast ${programVersion()}`;
  const rates = { uploadBytesPerSecond: settings.limitUpload, downloadBytesPerSecond: settings.limitDownload };
  const options = { folder: agentFolder, program, purpose: "read", retryDelaysMs: [5000], signal, ...rates } as const;
  const { repository, remote } = await openThroughServer(readAgent(agentFolder), options);
  closeAtEnd(() => remote.close());
  return repository;
}

/** Whether a person may have to be asked for the password: then nothing else may want the terminal meanwhile. */
export function mayAskForPassword(context: Context): boolean {
  const { identityFile, passwordFile, passwordCommand, variable } = repositoryOptions(context);
  if (identityFile !== undefined) return false;
  return passwordCommand !== undefined || (passwordFile === undefined && !process.env[variable]);
}

export async function readUnlock(context: Context, options: RepositoryOptions, inputIsTaken: boolean): Promise<Unlock> {
  if (options.identityFile !== undefined) return { identities: await readIdentities(options.identityFile) };
  const prompt = `enter password for repository ${options.repo ?? ""}`;
  const { variable } = options;
  const passphrase = await readPassword(options, {
    prompt,
    isNew: false,
    variable,
    inputIsTaken,
    signal: context.signal,
  });
  return { passphrase };
}

/** An age identity file, as `age-keygen` writes it: one a line, and comments. */
async function readIdentities(file: string): Promise<string[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError(`could not read the identity file ${file}: ${messageOf(error)}`, { cause: error });
  }
  const identities = text.split(/\r?\n/).filter((line) => line.trim() !== "" && !line.startsWith("#"));
  if (identities.length > 0) return identities;
  throw new UsageError(`there is no identity in ${file}`, { hint: "make one with age-keygen" });
}
