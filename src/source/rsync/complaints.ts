import { rawPathFromText } from "../../platform/raw-path.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { SourceProblem } from "../source.ts";

/**
 * What an rsync complains of, as a problem with a file: `rsync: [sender] opendir "/root/x" failed: Permission denied
 * (13)`, `file has vanished: "/tmp/y"`.
 */
export function problemFromComplaint(line: string): SourceProblem {
  const text = line.trim();
  const quoted = /"((?:[^"\\]|\\.)*)"/.exec(text);
  const path = quoted === null ? ("" as RawPath) : pathFromMessage(quoted[1]);
  const during = /link_stat|readlink_stat|lstat/.test(text)
    ? "stat"
    : /opendir|readdir|change_dir/.test(text)
      ? "list"
      : /xattr|acl/i.test(text)
        ? "read extended attributes"
        : "read";
  return { path, during, error: new Error(text.replace(/^rsync: (?:\[\w+\] )?/, "")) };
}

/** rsync writes bytes that cannot be shown as `\#` and three octal digits. */
function pathFromMessage(shown: string): RawPath {
  const raw = rawPathFromText(shown).replaceAll(/\\#([0-3][0-7]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return raw.replace(/^\/+/, "") as RawPath;
}
