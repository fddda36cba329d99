/** How commands reach the server on this machine. */
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dataFolderOf } from "./data-option.ts";
import { dataFile } from "../fleet/data-folder.ts";
import { createApiClient, type ApiClient } from "../server/api-client.ts";

export function serverOf(options: { readonly data: string | undefined }): ApiClient {
  return createApiClient(dataFile.apiSocket(dataFolderOf(options)));
}

/** The login of the server's user, as hosts name it: `holdfast@backup`; what is not known stands in capitals. */
export function serverLogin(options: { readonly data: string | undefined }): string {
  return `${ownerOf(dataFolderOf(options)) ?? "USER"}@${hostname() || "SERVER"}`;
}

function ownerOf(folder: string): string | undefined {
  try {
    const { uid } = statSync(folder);
    const users = readFileSync("/etc/passwd", "utf8").split("\n");
    return users.map((line) => line.split(":")).find(([, , id]) => id === String(uid))?.[0];
  } catch {
    return undefined;
  }
}
