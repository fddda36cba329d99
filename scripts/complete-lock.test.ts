import assert from "node:assert/strict";
import { test } from "node:test";
import { missingPlatformPackages } from "./complete-lock.ts";

test("a platform's package that the lock lacks gets an entry that keeps it off other platforms", () => {
  const packages = {
    "": {},
    "node_modules/tool": {
      version: "1.2.3",
      license: "MIT",
      dev: true,
      optionalDependencies: {
        "@tool/linux-arm64-musl": "1.2.3",
        "@tool/linux-x64-gnu": "1.2.3",
        "@tool/win32-ia32-msvc": "1.2.3",
      },
    },
    "node_modules/@tool/linux-x64-gnu": { version: "1.2.3" },
  };
  const entry = { version: "1.2.3", dev: true, license: "MIT", optional: true };
  assert.deepEqual(missingPlatformPackages(packages), {
    "node_modules/@tool/linux-arm64-musl": { ...entry, os: ["linux"], cpu: ["arm64"], libc: ["musl"] },
    "node_modules/@tool/win32-ia32-msvc": { ...entry, os: ["win32"], cpu: ["ia32"] },
  });
});

test("an optional package that is for all platforms is not made up", () => {
  const packages = { "node_modules/tool": { optionalDependencies: { fsevents: "2.3.3" } } };
  assert.deepEqual(missingPlatformPackages(packages), {});
});
