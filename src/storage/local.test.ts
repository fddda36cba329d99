import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLocalStorage } from "./local.ts";
import { storageConformance } from "./storage.conformance.ts";

storageConformance("a local folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-local-"));
  const storage = await createLocalStorage(join(folder, "repository"));
  return {
    storage,
    dispose: async () => {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
});
