/** New keys for a host that is set up. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { agentFile } from "../../src/agent/state.ts";
import type { HostDetails } from "../../src/server/api-routes.ts";
import { ownHost, ownServer } from "./own-server.ts";

test("a host with new keys keeps what the old ones signed, and the old ones count no more", async (t) => {
  const server = await ownServer(t);
  const host = await ownHost(server, "web1", { f1: "1" });
  await host.agentOk("run");
  const keyFile = agentFile.signingKey(host.agentFolder);
  const oldKey = readFileSync(keyFile, "latin1");
  const details = () => server.call<HostDetails>("GET", "/v1/hosts/web1");
  const before = (await details()).keys;

  assert.match(await host.agentOk("rotate-key"), /holdfast host approve web1/);
  assert.equal(readFileSync(keyFile, "latin1"), oldKey);
  await host.agentOk("run");
  await server.call("POST", "/v1/hosts/web1/approve");
  // What the old key signs is taken no more.
  assert.match((await host.agent("run")).stderr, /signed/);
  assert.match(await host.agentOk("rotate-key"), /new keys count from now on/);
  assert.notEqual(readFileSync(keyFile, "latin1"), oldKey);
  await host.agentOk("run");

  const now = await details();
  assert.notEqual(now.keys?.signingKey, before?.signingKey);
  assert.deepEqual(
    now.earlierKeys.map(({ signingKey }) => signingKey),
    [before?.signingKey],
  );
  assert.deepEqual(now.signatures, { byPresentKey: 1, byEarlierKeys: 2, byUnknownKeys: 0 });
  const seen = JSON.parse(await host.agentOk("snapshots", "--json")) as { id: string }[];
  assert.equal(seen.length, 3);
  await host.agentOk("restore", seen[0].id, "--target", `${server.folder}/restored`);
  assert.match(await server.admin("host", "show", "web1"), /2 of its snapshots are signed by earlier keys of its own/);
});
