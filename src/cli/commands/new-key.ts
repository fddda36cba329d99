import type { Repository } from "../../repository/repository.ts";
import type { Context } from "../context.ts";
import { readPassword } from "../password.ts";

interface NewPasswordOptions {
  readonly newPasswordFile: string | undefined;
  readonly newPasswordCommand: string | undefined;
}

/** From the options, `HOLDFAST_NEW_PASSWORD`, or the person at the terminal. */
export function readNewPassword(
  { signal }: Context,
  { newPasswordFile, newPasswordCommand }: NewPasswordOptions,
  { storage }: Repository,
): Promise<string> {
  return readPassword(
    { passwordFile: newPasswordFile, passwordCommand: newPasswordCommand },
    {
      prompt: `enter new password for ${storage.location}`,
      isNew: true,
      variable: "HOLDFAST_NEW_PASSWORD",
      inputIsTaken: false,
      signal,
    },
  );
}
