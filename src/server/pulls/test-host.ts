/** Whether a host can be pulled from, and in words what is missing. */
import { randomBytes } from "node:crypto";
import { HoldfastError, messageOf } from "../../errors.ts";
import type { Policy } from "../../fleet/policies.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { displayPath, rawPathFromText } from "../../platform/raw-path.ts";
import { compileExcludes } from "../../source/local/exclude-patterns.ts";
import { openRsyncSource, remoteFilters, RsyncFailedError, type RsyncSource } from "../../source/rsync/index.ts";
import type { SourceProblem } from "../../source/source.ts";
import { gateTakes, installationOf, type PullInstallation } from "./installation.ts";
import type { PullKeys } from "./pull-files.ts";
import { pathsOf, pathsOfPolicy, type PullPaths } from "./pull-paths.ts";
import { askHost, lastLine, printable, pullShell, UNATTENDED_GREETING_MS, type SshAnswer } from "./pull-ssh.ts";

export interface PullFinding {
  /** `ok`; `warning`: it works, but not as it should; `failed`: it does not work. */
  readonly state: "ok" | "warning" | "failed";
  readonly text: string;
  /** What to do. */
  readonly hint?: string;
}

export interface PullTest {
  readonly findings: readonly PullFinding[];
  /** What rsync was asked with; undefined where it did not get so far. */
  readonly form: "full" | "plain" | undefined;
}

export interface TestRequest {
  readonly dataFolder: string;
  readonly host: string;
  readonly pull: PullSettings;
  readonly policy: Pick<Policy, "name" | "sources" | "excludes">;
  readonly keys: PullKeys;
}

/** Tries, step by step, what a pull does, up to the first that fails. Lists the paths to a depth of two. */
export async function testHost(request: TestRequest): Promise<PullTest> {
  const findings: PullFinding[] = [];
  const fail = (text: string, hint?: string): PullTest => {
    findings.push({ state: "failed", text: printable(text), ...(hint !== undefined && { hint }) });
    return { findings, form: undefined };
  };
  const login = await tryLogin(request);
  findings.push(...login);
  if (login.some(({ state }) => state === "failed")) return { findings, form: undefined };

  let paths: PullPaths;
  try {
    paths = await pathsOf(request);
  } catch (error) {
    return fail(messageOf(error), pathsHint(request, error));
  }
  findings.push(...aboutPaths(request, paths));
  if (findings.at(-1)?.state === "failed") return { findings, form: undefined };

  const problems: SourceProblem[] = [];
  let source: RsyncSource;
  try {
    source = await openRsyncSource({
      remote: { shell: pullShell(request), login: request.pull.login },
      paths: paths.paths,
      filters: [...remoteFilters(paths.excludes), ...paths.paths.map(notDeeperThan)],
      greetingMs: UNATTENDED_GREETING_MS,
      onProblem: (problem) => problems.push(problem),
    });
  } catch (error) {
    return fail(...whyRsyncFailed(request, paths, error, problems));
  }
  let links: readonly string[];
  try {
    links = await linksAmong(source, paths.paths);
  } catch (error) {
    return fail(messageOf(error), error instanceof HoldfastError ? error.hint : undefined);
  } finally {
    await source.close();
  }
  findings.push(...aboutRsync(source), ...links.map(onlyALink), ...aboutProblems(request, problems));
  return { findings, form: source.profile };
}

const LIMITS = { mostBytes: 64 * 1024, timeoutMs: 45_000 };

/** A key that may do everything answers with what it is told to say. */
async function tryLogin(request: TestRequest): Promise<PullFinding[]> {
  const { host, pull } = request;
  const word = `holdfast-${randomBytes(8).toString("hex")}`;
  const answer = await askHost(pullShell(request), pull.login, `echo ${word}`, LIMITS);
  const failed = loginFailure(request, answer);
  if (failed !== undefined) return [failed];
  const findings: PullFinding[] = [
    { state: "ok", text: `${pull.login} answers, shows the key that was pinned, and knows the server's` },
  ];
  if (answer.output.includes(word)) {
    findings.push({
      state: "warning",
      text: `the server's key may do everything on ${host}`,
      hint: `put what restricts it before it in authorized_keys: ${restriction(request)}`,
    });
  } else {
    findings.push({ state: "ok", text: "a forced command keeps the key from doing anything else" });
  }
  return findings;
}

function installation({ pull, keys, policy }: TestRequest): PullInstallation {
  return installationOf(pull, keys, pathsOfPolicy(policy).paths);
}

function restriction(request: TestRequest): string {
  const { gateLine, rrsyncLine } = installation(request);
  return gateLine ?? rrsyncLine;
}

/** ssh(1) ends with 255 where the fault is its own; a shell with 126 and 127 where a command cannot be run. */
function loginFailure(request: TestRequest, { exitCode, complaints }: SshAnswer): PullFinding | undefined {
  const { host, pull } = request;
  const failed = (text: string, hint: string): PullFinding => ({ state: "failed", text, hint });
  const said = lastLine(complaints);
  if (exitCode === 124) return failed(`${pull.login} takes too long to answer`, "try to log in with ssh yourself");
  if (exitCode === 127 || exitCode === 126) {
    return failed(
      `the forced command of the server's key cannot be run on ${host}: ${said}`,
      `"holdfast host show ${host}" tells how holdfast-gate comes there`,
    );
  }
  if (exitCode !== 255) return undefined;
  if (/REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed/.test(complaints)) {
    return failed(
      `${host} shows another host key than the one that was pinned`,
      `somebody may be in between. If it was installed anew: holdfast host edit ${host} --new-host-key`,
    );
  }
  if (complaints.includes("Permission denied")) {
    return failed(
      `${pull.login} does not know the server's key`,
      `put this line into authorized_keys there: ${restriction(request)}`,
    );
  }
  if (/Could not resolve|Name or service not known/.test(complaints)) {
    return failed(
      `there is no host of that name: ${said}`,
      `holdfast host edit ${host} --pull USER@HOST sets it right`,
    );
  }
  if (complaints.includes("Connection refused")) {
    return failed(
      `nothing listens on port ${pull.port} of ${host}: ${said}`,
      "start sshd there, or name its port with --port",
    );
  }
  return failed(
    `ssh cannot reach ${pull.login}: ${said || "no answer"}`,
    "is it up, and does a firewall let this machine through?",
  );
}

function pathsHint(request: TestRequest, error: unknown): string | undefined {
  const { pathsLine } = installation(request);
  if (pathsLine !== undefined && /does not let the server read/.test(messageOf(error))) {
    return `put this line into authorized_keys there: ${pathsLine}`;
  }
  return error instanceof HoldfastError ? error.hint : undefined;
}

function aboutPaths({ pull, policy }: TestRequest, { paths, problems, excludes }: PullPaths): PullFinding[] {
  const from = pull.pathsFrom === "host" ? "its own list" : `the policy "${policy.name}"`;
  const isExcluded = compileExcludes({ patterns: excludes, patternsIgnoringCase: [] });
  const leftOut =
    isExcluded === undefined ? [] : paths.filter((path) => path !== "/" && isExcluded(`${path.slice(1)}/`));
  return [
    { state: "ok", text: `to be saved, by ${from}: ${paths.join(" ")}` },
    ...problems.map((text): PullFinding => ({ state: "warning", text })),
    ...leftOut.map((path): PullFinding => ({
      state: leftOut.length === paths.length ? "failed" : "warning",
      text: `the policy "${policy.name}" excludes ${path}, or a folder above it`,
      hint: `holdfast policy edit ${policy.name} --exclude PATTERN, once for each, names them anew`,
    })),
  ];
}

/** Lists what lies in the path and in folders there, so that it shows soon what cannot be read. */
function notDeeperThan(path: string): string {
  const escaped = path.replace(/[[\]*?\\]/g, "\\$&");
  return `- ${escaped === "/" ? "" : escaped}/*/*`;
}

/** Those of the paths that are symbolic links on the host. */
async function linksAmong(source: RsyncSource, paths: readonly string[]): Promise<readonly string[]> {
  const named = new Map(paths.map((path) => [rawPathFromText(path.slice(1)), path]));
  const links: string[] = [];
  for await (const entries of source.entries()) {
    for (const { path, stat } of entries) {
      if (stat.type === "symlink" && named.has(path)) links.push(named.get(path)!);
    }
  }
  return links;
}

function onlyALink(path: string): PullFinding {
  return {
    state: "warning",
    text: `${path} is a symbolic link there, and nothing but the link is saved`,
    hint: "name the folder to which it leads",
  };
}

function whyRsyncFailed(
  request: TestRequest,
  { paths }: PullPaths,
  error: unknown,
  problems: readonly SourceProblem[],
): [text: string, hint: string | undefined] {
  const { host } = request;
  const text = messageOf(error);
  if (/(?:rsync|exec)\S*: (?:command )?not found|rsync.*No such file or directory$/m.test(text)) {
    return [`rsync is not installed on ${host}`, `install it there: apt-get install rsync`];
  }
  const refused = /(holdfast-gate: refused: .*)|(rrsync.*)/.exec(text)?.[0];
  const tooOdd = paths.filter((path) => !gateTakes(path));
  if (refused?.startsWith("holdfast-gate") === true && tooOdd.length > 0) {
    return [
      `holdfast-gate on ${host} can take no path with blanks or other characters such as in ${tooOdd.join(" ")}`,
      `without them the others go through; rrsync takes all: ${installation(request).rrsyncLine}`,
    ];
  }
  if (refused !== undefined) {
    return [
      `the forced command on ${host} refuses what the server asks for: ${refused}`,
      `let it allow the paths: ${restriction(request)}`,
    ];
  }
  if (error instanceof RsyncFailedError && problems.length > 0) {
    return [`nothing of what is to be saved can be read on ${host}: ${complaintOf(problems[0])}`, error.hint];
  }
  return [text, error instanceof HoldfastError ? error.hint : undefined];
}

/** hosts of 2008 and before speak 29; ACLs, attributes and nanoseconds come with 30 and 31. */
function aboutRsync({ agreement, profile }: RsyncSource): PullFinding[] {
  if (agreement.protocol < 30) {
    return [
      {
        state: "warning",
        text: `rsync there is very old (protocol ${agreement.protocol}): hard links, ACLs, extended attributes and names of owners will be missing, and times are kept to the second`,
        hint: "rsync 3.1 or later tells all of them",
      },
    ];
  }
  if (profile === "plain") {
    return [
      {
        state: "warning",
        text: "rsync answers, but only when it is asked in its plainest form: hard links, ACLs, extended attributes and names of owners will be missing",
        hint: "holdfast-gate or rrsync as the forced command let all of them through",
      },
    ];
  }
  if (agreement.protocol < 31) {
    return [
      {
        state: "warning",
        text: `rsync there is old (protocol ${agreement.protocol}): times are kept to the second`,
        hint: "rsync 3.1 or later tells them to the nanosecond",
      },
    ];
  }
  return [{ state: "ok", text: `rsync answers (protocol ${agreement.protocol})` }];
}

const MOST_SHOWN = 5;

function aboutProblems({ pull }: TestRequest, problems: readonly SourceProblem[]): PullFinding[] {
  const isRoot = pull.login.startsWith("root@");
  const lacksRights = problems.some(({ error }) => messageOf(error).includes("Permission denied"));
  const findings = problems.slice(0, MOST_SHOWN).map((problem): PullFinding => ({
    state: "warning",
    text: `cannot be read: ${complaintOf(problem)}`,
  }));
  if (problems.length > MOST_SHOWN) {
    findings.push({ state: "warning", text: `and ${problems.length - MOST_SHOWN} more cannot be read` });
  }
  if (isRoot) return findings;
  const hint = 'log in as root, or let the forced command be "holdfast-gate --sudo" (see docs/rsync.md)';
  if (lacksRights) {
    findings.push({ state: "warning", text: `${pull.login} is not root, and lacks the right to read these`, hint });
  }
  return findings;
}

function complaintOf({ path, error }: SourceProblem): string {
  const text = messageOf(error);
  return printable(path === "" || text.includes('"') ? text : `/${displayPath(path)}: ${text}`);
}
