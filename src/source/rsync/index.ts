/** Files of hosts that have nothing but rsync and sshd: pulled from them, or pushed by them. */
export { openRemoteSource } from "./remote-source.ts";
export type { RemoteSource, RemoteSourceOptions } from "./remote-source.ts";
export { deferredSource } from "./deferred-source.ts";
export { openSsh } from "./remote-process.ts";
export type { RemoteShell, SshOptions } from "./remote-process.ts";
export { normaliseRemotePath, splitShellCommand } from "./remote-command.ts";
export type { PullProfile } from "./remote-command.ts";
export { remoteFilters } from "./excluding-source.ts";
export { patternsOfLines } from "./exclude-rules.ts";
export { parseRemotePath } from "./remote-path.ts";
export { openRsyncSource } from "./rsync-source.ts";
export type { RsyncSource, RsyncSourceOptions, RsyncTraffic } from "./rsync-source.ts";
export { acceptPush } from "./accept-push.ts";
export type { PushReceiver } from "./accept-push.ts";
export { isDryRun } from "./protocol/server-arguments.ts";
export type { ServerTransport } from "./protocol/server-session.ts";
export type { Basis } from "./protocol/basis.ts";
export { RsyncFailedError, RsyncProtocolError, RsyncRefusedError } from "./protocol/rsync-error.ts";
