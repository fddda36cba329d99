import { RefusedError } from "../errors.ts";
import type { Storage } from "./storage.ts";

/** The same storage, in which nothing can be changed. */
export function readOnlyStorage(storage: Storage): Storage {
  const refuse = (name: string): Promise<never> =>
    Promise.reject(
      new RefusedError(`${name} is left as it is: this way of opening a repository is only for reading`, {
        hint: "what is kept and for how long, the server decides",
      }),
    );
  return { ...storage, location: storage.location, put: refuse, delete: refuse };
}
