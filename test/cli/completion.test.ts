import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { holdfastOk } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

/** What is typed after `holdfast `, and what a shell must offer for the last word; a folder `sources` is there. */
const CASES: readonly (readonly [typed: string, offered: readonly string[]])[] = [
  ["ba", ["backup"]],
  ["key ", ["add", "list", "passwd", "remove"]],
  ["-r /x key re", ["remove"]],
  ["--repo /x --json sna", ["snapshots"]],
  [
    "backup --exclude-",
    ["--exclude-caches", "--exclude-file", "--exclude-if-present", "--exclude-larger-than", "--exclude-these"],
  ],
  ["backup --tag key --one-file", ["--one-file-system"]],
  ["backup --compression ", ["auto", "better", "fastest", "max", "off"]],
  ["completion ", ["bash", "fish", "zsh"]],
  // -l takes a value in forget, and none in ls.
  ["ls -l latest --rec", ["--recursive"]],
  ["forget -l 3 --keep-we", ["--keep-weekly"]],
  ["key add --new-password-f", ["--new-password-file"]],
  ["--repo sou", ["sources"]],
  ["backup sou", ["sources"]],
  ["help forg", ["forget"]],
];

const SHELLS = [
  { shell: "bash", complete: completeInBash },
  { shell: "zsh", complete: completeInZsh },
  { shell: "fish", complete: completeInFish },
];

for (const { shell, complete } of SHELLS) {
  test(
    `${shell} completes commands, options and their values`,
    { skip: skipUnless({ commands: [shell] }) },
    async (t) => {
      const script = await completionScript(t, shell);
      const folder = temporaryFolder(t);
      await runOk("mkdir", [path.join(folder, "sources")]);
      for (const [typed, offered] of CASES) {
        const lines = await complete(script, typed, folder);
        const words = lines.split("\n").filter((line) => line !== "");
        // Whether a folder is offered with its slash is up to the shell.
        assert.deepEqual(words.map((word) => word.replace(/\/$/, "")).toSorted(), offered.toSorted(), typed);
      }
    },
  );
}

async function completionScript(t: TestContext, shell: string): Promise<string> {
  const file = path.join(temporaryFolder(t), "completion");
  writeFileSync(file, await holdfastOk(["completion", shell]));
  return file;
}

function completeInBash(script: string, typed: string, cwd: string): Promise<string> {
  const program = `source "$1"
    IFS=' ' read -r -a COMP_WORDS <<<"holdfast $2"
    [[ $2 == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
    _holdfast
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return runOk("bash", ["--norc", "-c", program, "bash", script, typed], { cwd });
}

function completeInZsh(script: string, typed: string, cwd: string): Promise<string> {
  const program = path.join(import.meta.dirname, "complete-in-zsh.zsh");
  return runOk("zsh", ["-f", program, script, `holdfast ${typed}`], { cwd, env: { HOME: cwd } });
}

async function completeInFish(script: string, typed: string, cwd: string): Promise<string> {
  const program = 'source $argv[1]; complete -C "holdfast $argv[2]"';
  const offered = await runOk("fish", ["-N", "-c", program, script, typed], { cwd, env: { HOME: cwd } });
  return offered.replace(/\t.*/g, "");
}
