import type { Completes } from "../command-spec.ts";
import type { CompletableCommand, CompletableOption } from "./completable.ts";

/** For fish 3. */
export function fishCompletion(commands: readonly CompletableCommand[]): string {
  const [top] = commands;
  const groups = commands.filter(({ words, below }) => words.length > 0 && below.length > 0);
  return [
    "# fish completion for holdfast",
    "",
    "# The command typed so far: one word, or two below a group.",
    "function __holdfast_command",
    "    set -l command",
    "    set -l skip 1",
    "    for word in (commandline -opc)",
    "        if test $skip = 1",
    "            set skip 0",
    "            continue",
    "        end",
    '        switch "$command/$word"',
    `            case ${valueOptionNames(commands).map(quote).join(" ")}`,
    "                set skip 1",
    "            case '*/-*'",
    "            case '/*'",
    "                set command $word",
    `            case ${[...groups.map(({ words }) => words[0]), "help"].map((word) => quote(`${word}/*`)).join(" ")}`,
    '                set command "$command $word"',
    "        end",
    "    end",
    "    echo $command",
    "end",
    "",
    "function __holdfast_in",
    '    test "$(__holdfast_command)" = "$argv"',
    "end",
    "",
    "complete -c holdfast -f",
    ...commands.flatMap(({ words, below }) =>
      below.map(({ word, summary }) => `${line(words)} -a ${word} -d ${quote(summary)}`),
    ),
    ...top.below
      .filter(({ word }) => word !== "help")
      .map(({ word, summary }) => `${line(["help"])} -a ${word} -d ${quote(summary)}`),
    ...commands.flatMap(argumentLines),
    ...commands.flatMap(({ words, options }) => options.map((option) => optionLine(words, option))),
  ].join("\n");
}

function line(words: readonly string[]): string {
  return `complete -c holdfast -n ${quote(`__holdfast_in ${words.join(" ")}`.trim())}`;
}

function optionLine(
  words: readonly string[],
  { long, short, summary, takesValue, completes }: CompletableOption,
): string {
  const names = `${short === undefined ? "" : `-s ${short.slice(1)} `}-l ${long.slice(2)}`;
  return `${line(words)} ${names}${takesValue ? `${completes === "file" ? " -r" : " -x"}${offer(completes)}` : ""} -d ${quote(summary)}`;
}

function argumentLines({ words, arguments: all }: CompletableCommand): string[] {
  const kinds = new Set(all.flatMap(({ completes }) => (completes === undefined ? [] : [completes])));
  return [...kinds].map((completes) => `${line(words)}${offer(completes)}`);
}

function offer(completes: Completes | undefined): string {
  if (completes === undefined) return "";
  if (completes === "file") return " -F";
  if (completes === "folder") return " -a '(__fish_complete_directories)'";
  return ` -a ${quote(completes.join(" "))}`;
}

/** `backup/--tag`: the same name may take a value in one command and none in another. */
function valueOptionNames(commands: readonly CompletableCommand[]): string[] {
  return commands.flatMap(({ words, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .flatMap(({ long, short }) => (short === undefined ? [long] : [long, short]))
      .map((name) => `${words.join(" ")}/${name}`),
  );
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
