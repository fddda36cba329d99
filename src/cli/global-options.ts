import { counter, flag, negation, text, value } from "./command-spec.ts";
import { rate } from "./option-values.ts";

/** Options that every command takes, before or after its name. */
export const globalOptions = {
  repo: text("-r, --repo <repository>", "repository: a folder, sftp:user@host:/folder, or account:NAME on a server", {
    environment: "HOLDFAST_REPOSITORY",
    completes: "folder",
  }),
  repositoryFile: text("--repository-file <file>", "read from a file where the repository is", {
    environment: "HOLDFAST_REPOSITORY_FILE",
    completes: "file",
  }),
  passwordFile: text("-p, --password-file <file>", "read the password from a file", {
    environment: "HOLDFAST_PASSWORD_FILE",
    completes: "file",
  }),
  passwordCommand: text("--password-command <command>", "read the password from what a command prints", {
    environment: "HOLDFAST_PASSWORD_COMMAND",
  }),
  identityFile: text("--identity-file <file>", "open the repository with an age identity instead of a password", {
    environment: "HOLDFAST_IDENTITY_FILE",
    completes: "file",
  }),
  keyHint: text("--key-hint <key>", "id of the key to try before all others, or the beginning of it", {
    environment: "HOLDFAST_KEY_HINT",
  }),
  limitUpload: value("--limit-upload <rate>", "KiB a second to send at most, or with a unit as in 5M", rate),
  limitDownload: value("--limit-download <rate>", "KiB a second to receive at most, or with a unit", rate),
  json: flag("--json", "print JSON, for programs"),
  quiet: flag("-q, --quiet", "print results and errors only"),
  verbose: counter("-v, --verbose", "say more; twice for even more"),
  cache: negation("--no-cache", "keep nothing on this machine that would make the next run faster"),
  cacheDir: text("--cache-dir <folder>", "where to keep what makes the next run faster", {
    environment: "HOLDFAST_CACHE_DIR",
    completes: "folder",
  }),
  color: negation("--no-color", "no colours"),
};
