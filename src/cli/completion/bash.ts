import type { Completes } from "../command-spec.ts";
import type { CompletableCommand, CompletableOption } from "./completable.ts";

/** For bash 4 and later, without the bash-completion package. */
export function bashCompletion(commands: readonly CompletableCommand[]): string {
  const groups = commands.filter(({ words, below }) => words.length > 0 && below.length > 0);
  const valueOptions = commands.flatMap((command) =>
    command.options.filter(({ takesValue }) => takesValue).flatMap((option) => qualifiedNames(command, option)),
  );
  return `# bash completion for holdfast

_holdfast() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command= index arguments=0
  for ((index = 1; index < COMP_CWORD; index++)); do
    case $command/\${COMP_WORDS[index]} in
      ${valueOptions.join("|")}) ((index++)) ;;
      */-*) ;;
      *)
        case $command in
          '') command=\${COMP_WORDS[index]} ;;
${groups.map(({ words }) => `          ${words.join(" ")}) command+=" \${COMP_WORDS[index]}" ;;\n`).join("")}          *) ((arguments++)) ;;
        esac
        ;;
    esac
  done

  COMPREPLY=()
  case $command/$before in
${commands.flatMap(valueCases).join("\n")}
  esac

  local words=
  case $command in
${commands.map(wordsCase).join("\n")}
    help\\ *|help) words="${commands[0].below.map(({ word }) => word).join(" ")}" ;;
  esac
  if [[ $word == -* ]]; then
    case $command in
${commands.map(optionsCase).join("\n")}
    esac
  fi
  [[ -n $words ]] && COMPREPLY+=($(compgen -W "$words" -- "$word"))
}

complete -o nosort -F _holdfast holdfast 2>/dev/null || complete -F _holdfast holdfast`;
}

function namesOf({ long, short }: CompletableOption): string[] {
  return short === undefined ? [long] : [long, short];
}

/** `backup/--tag`: the same name may take a value in one command and none in another. */
function qualifiedNames(command: CompletableCommand, option: CompletableOption): string[] {
  return namesOf(option).map((name) => `${pattern(command)}/${name}`);
}

function pattern({ words }: CompletableCommand): string {
  return words.length === 0 ? "''" : words.join("\\ ");
}

/** What to offer after an option that takes a value. */
function valueCases(command: CompletableCommand): string[] {
  return command.options
    .filter((option) => option.takesValue)
    .map((option) => {
      return `    ${qualifiedNames(command, option).join("|")}) ${offer(option.completes)} return ;;`;
    });
}

function offer(completes: Completes | undefined): string {
  if (completes === "file") return `compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word");`;
  if (completes === "folder")
    return `compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$word");`;
  if (completes === undefined) return "";
  return `COMPREPLY=($(compgen -W "${completes.join(" ")}" -- "$word"));`;
}

/** What to offer in the place of an argument: commands below, or by its number what the argument is. */
function wordsCase(command: CompletableCommand): string {
  if (command.below.length > 0) {
    return `    ${pattern(command)}) words="${command.below.map(({ word }) => word).join(" ")}" ;;`;
  }
  const cases = command.arguments.flatMap(({ completes, repeatable }, index) =>
    completes === undefined ? [] : [`${repeatable ? "*" : index}) ${offer(completes)} ;;`],
  );
  const body = cases.length === 0 ? ":" : `[[ $word == -* ]] || case $arguments in ${cases.join(" ")} esac`;
  return `    ${pattern(command)}) ${body} ;;`;
}

function optionsCase(command: CompletableCommand): string {
  return `      ${pattern(command)}) words="${command.options.flatMap(namesOf).join(" ")}" ;;`;
}
