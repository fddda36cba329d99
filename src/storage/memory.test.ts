import { memoryStorage } from "./memory.ts";
import { storageConformance } from "./storage.conformance.ts";

storageConformance("memory", async () => {
  const storage = memoryStorage();
  return { storage, dispose: () => storage.close() };
});
