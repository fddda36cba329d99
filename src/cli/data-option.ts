import { text } from "./command-spec.ts";

/** Where `holdfast server install` puts the server's data. */
export const DEFAULT_DATA_FOLDER = "/var/lib/holdfast";

export const dataOption = {
  data: text("--data <folder>", `the server's data folder (default: ${DEFAULT_DATA_FOLDER})`, {
    environment: "HOLDFAST_DATA",
    completes: "folder",
  }),
};

export function dataFolderOf({ data }: { readonly data: string | undefined }): string {
  return data ?? DEFAULT_DATA_FOLDER;
}
