import { fileURLToPath } from "node:url";
import { UsageError } from "../errors.ts";
import { createLocalStorage, openLocalStorage } from "./local.ts";
import type { Pace } from "./pace.ts";
import type { S3Place } from "./s3/s3.ts";
import type { SftpPlace } from "./sftp/sftp.ts";
import type { Storage } from "./storage.ts";

export interface StorageOptions {
  /** Further arguments for `ssh`, before the host. */
  readonly sshArguments?: readonly string[];
  /** How fast it may be read and written; undefined for as fast as it goes. */
  readonly pace?: Pace | undefined;
}

/**
 * Opens the storage that `url` names, as restic would write it:
 *
 *     /srv/backup   local:/srv/backup   file:///srv/backup
 *     sftp:user@host:/srv/backup   sftp://user@host:2222//srv/backup   (with one slash: below the user's home)
 *     s3:https://host:9000/bucket/prefix   s3:s3.amazonaws.com/bucket   (keys from AWS_ACCESS_KEY_ID and so on)
 *
 * `UsageError` where it names nothing; `NoRepositoryError` where the folder is not there.
 */
export async function openStorage(url: string, { sshArguments, pace }: StorageOptions = {}): Promise<Storage> {
  const place = parseStorageUrl(url);
  switch (place.kind) {
    case "local":
      return openLocalStorage(place.path, pace);
    case "sftp":
      // Loaded only now: most commands work on a local repository, and should not wait for what they do not use.
      return (await import("./sftp/sftp.ts")).openSftpStorage(place, sshArguments, pace);
    case "s3":
      return (await import("./s3/s3.ts")).openS3Storage(place, undefined, pace);
  }
}

/** As `openStorage`, but makes the folder or bucket where it is not there. */
export async function createStorage(url: string, { sshArguments, pace }: StorageOptions = {}): Promise<Storage> {
  const place = parseStorageUrl(url);
  switch (place.kind) {
    case "local":
      return createLocalStorage(place.path, pace);
    case "sftp":
      return (await import("./sftp/sftp.ts")).createSftpStorage(place, sshArguments, pace);
    case "s3":
      return (await import("./s3/s3.ts")).createS3Storage(place, undefined, pace);
  }
}

export type StoragePlace =
  | { readonly kind: "local"; readonly path: string }
  | ({ readonly kind: "sftp" } & SftpPlace)
  | ({ readonly kind: "s3" } & S3Place);

/** What a place means, without going there. `UsageError` where it means nothing. */
export function parseStorageUrl(url: string): StoragePlace {
  const [, scheme, rest] = /^([^/:]*):(.*)$/s.exec(url) ?? [];
  if (url === "") throw new UsageError("the repository's place is empty");
  if (scheme === undefined) return { kind: "local", path: url };
  switch (scheme.toLowerCase()) {
    case "local":
      return localPlace(url, rest);
    case "file":
      return localPlace(url, rest.startsWith("/") ? pathOfFileUrl(url) : rest);
    case "sftp":
      return { kind: "sftp", ...(rest.startsWith("//") ? sftpUrl(url) : sftpShortForm(url)) };
    case "s3":
      return { kind: "s3", ...s3Place(url, rest) };
    default:
      throw new UsageError(`there is no storage of the kind "${scheme}" (in ${url})`, {
        hint: 'write "local:" before the path of a local folder that has a colon; other kinds are "sftp:" and "s3:"',
      });
  }
}

function localPlace(url: string, path: string): StoragePlace {
  if (path === "") throw new UsageError(`there is no path in ${url}`);
  return { kind: "local", path };
}

function pathOfFileUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw new UsageError(`${url} does not name a local folder`, { hint: "file:///path", cause: error });
  }
}

const SFTP_URL = /^sftp:\/\/(?:([^@/]+)@)?(\[[^\]/]+\]|[^:@/[\]]+)(?::(\d{1,5}))?\/(.+)$/is;
const SFTP_SHORT_FORM = /^sftp:(?:([^/:]+)@)?(\[[^\]/]+\]|[^:@/[\]]+):(.+)$/is;

function sftpUrl(url: string): SftpPlace {
  const [, user, host, port, path] = SFTP_URL.exec(url) ?? [];
  if (host === undefined) throw notSftp(url);
  return sftpPlace(url, user && decoded(url, user), host, port, decoded(url, path));
}

function sftpShortForm(url: string): SftpPlace {
  const [, user, host, path] = SFTP_SHORT_FORM.exec(url) ?? [];
  if (host === undefined) throw notSftp(url);
  return sftpPlace(url, user, host, undefined, path);
}

function sftpPlace(
  url: string,
  user: string | undefined,
  bracketedHost: string,
  port: string | undefined,
  path: string,
): SftpPlace {
  const host = bracketedHost.replace(/^\[(.*)\]$/, "$1");
  // ssh would take them for options, which can run commands.
  if (host.startsWith("-") || user?.startsWith("-")) throw notSftp(url);
  const portNumber = port === undefined ? undefined : Number(port);
  if (portNumber !== undefined && (portNumber < 1 || portNumber > 65_535)) throw notSftp(url);
  return { host, user, port: portNumber, path: path.length > 1 ? path.replace(/\/+$/, "") || "/" : path };
}

function decoded(url: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    throw new UsageError(`there is a "%" in ${url} that is not followed by two hex digits`, { cause: error });
  }
}

function notSftp(url: string): UsageError {
  return new UsageError(`${url} does not name a folder on an SFTP server`, {
    hint: 'write "sftp:user@host:/path", or "sftp://user@host:port//path"',
  });
}

const S3_PLACE = /^(?:(https?):)?(?:\/\/)?([^/@?#]+)\/+([^/?#]+)(?:\/+(.*?))?\/*$/is;

function s3Place(url: string, rest: string): S3Place {
  const [, scheme = "https", host, bucket, prefix = ""] = S3_PLACE.exec(rest) ?? [];
  if (host === undefined || !URL.canParse(`${scheme}://${host}`)) {
    throw new UsageError(`${url} does not name a bucket of an S3 service`, {
      hint: 'write "s3:https://host:port/bucket/prefix", or "s3:s3.amazonaws.com/bucket"',
    });
  }
  return { endpoint: new URL(`${scheme}://${host}`), bucket, prefix };
}
