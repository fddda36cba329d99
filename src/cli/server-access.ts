/** How commands reach the server on this machine. */
import { dataFolderOf } from "./data-option.ts";
import { dataFile } from "../fleet/data-folder.ts";
import { createApiClient, type ApiClient } from "../server/api-client.ts";

export function serverOf(options: { readonly data: string | undefined }): ApiClient {
  return createApiClient(dataFile.apiSocket(dataFolderOf(options)));
}
