import type { Completes } from "../command-spec.ts";
import type { CompletableCommand, CompletableOption } from "./completable.ts";

/** For zsh 5, as a function for `$fpath` or to be sourced. */
export function zshCompletion(commands: readonly CompletableCommand[]): string {
  return [
    "#compdef holdfast",
    "",
    ...commands.flatMap((command) => [...commandFunction(command), ""]),
    'if [ "$funcstack[1]" = "_holdfast" ]; then',
    '  _holdfast "$@"',
    "else",
    "  compdef _holdfast holdfast",
    "fi",
  ].join("\n");
}

function functionName(words: readonly string[]): string {
  return ["_holdfast", ...words].join("_").replaceAll("-", "_");
}

function commandFunction(command: CompletableCommand): string[] {
  const options = command.options.flatMap(optionSpecs).map((spec) => `    ${quote(spec)} \\`);
  if (command.below.length === 0) {
    return [
      `${functionName(command.words)}() {`,
      "  _arguments -s -S \\",
      ...options,
      ...command.arguments.map(
        ({ completes, repeatable }) => `    ${quote(`${repeatable ? "*" : ""}:argument:${action(completes)}`)} \\`,
      ),
      "    && return 0",
      "}",
    ];
  }
  return [
    `${functionName(command.words)}() {`,
    "  local -a below",
    "  local context curcontext=$curcontext state line",
    "  typeset -A opt_args",
    "  below=(",
    ...command.below.map(({ word, summary }) => `    ${quote(`${word}:${summary}`)}`),
    "  )",
    "  _arguments -s -C \\",
    ...options,
    "    '1: :->command' \\",
    "    '*:: :->rest' && return 0",
    "  case $state in",
    "    command) _describe command below ;;",
    "    rest)",
    "      case $words[1] in",
    ...command.below
      .filter(({ word }) => word !== "help")
      .map(({ word }) => `        ${word}) ${functionName([...command.words, word])} ;;`),
    "        help) _describe command below ;;",
    "      esac",
    "      ;;",
    "  esac",
    "}",
  ];
}

/** For each name of an option, in the language of `_arguments`. */
function optionSpecs({ long, short, summary, takesValue, repeatable, completes }: CompletableOption): string[] {
  const names = short === undefined ? [long] : [short, long];
  const excluded = repeatable ? "" : `(${names.join(" ")})`;
  const text = `[${summary.replace(/[[\]:\\]/g, "\\$&")}]`;
  return names.map((name) => {
    const equals = takesValue ? (name.startsWith("--") ? "=" : "+") : "";
    const value = takesValue ? `:value:${action(completes)}` : "";
    return `${repeatable ? "*" : excluded}${name}${equals}${text}${value}`;
  });
}

function action(completes: Completes | undefined): string {
  if (completes === undefined) return " ";
  if (completes === "file") return "_files";
  if (completes === "folder") return "_files -/";
  return `(${completes.join(" ")})`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
