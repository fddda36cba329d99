#!/usr/bin/env -S zsh -f
# usage: complete-in-zsh.zsh SCRIPT LINE
# Prints what an interactive zsh, with the completion script loaded, offers for the last word of the line.
zmodload zsh/zpty
zpty shell zsh -f -i
typeset line

tell() { zpty -w shell "$1" }
until_marker() { while zpty -r shell line; do [[ $line == *$1* ]] && return; done }

tell 'PROMPT= RPROMPT= ; autoload -Uz compinit && compinit -u -D; bindkey "^I" complete-word; setopt no_list_beep
zstyle ":completion:*" list-prompt ""; LISTMAX=0'
# What is added as a match is printed, and nothing is inserted or listed.
tell 'compadd() {
  if [[ ${(M)@:#-[ODA]*} != "" ]]; then builtin compadd "$@"; return; fi
  typeset -a hits; builtin compadd -A hits "$@"
  local hit; for hit in $hits; do print -r -- "<offer>$hit<end>"; done
}'
# Keys count only once the line editor listens.
tell "source ${(q)1}; zle-line-init() { print -r -- LISTE''NING }; zle -N zle-line-init"
until_marker LISTENING
zpty -w -n shell "$2"$'\t'
zpty -w shell $'\C-u'"print FINI''SHED"
typeset output=
while zpty -r shell line; do
  output+=$line
  [[ $line == *FINISHED* && $line != *print* ]] && break
done
zpty -d shell
print -r -- $output | tr '\r' '\n' | sed -n 's/.*<offer>\(.*\)<end>.*/\1/p' | sort -u
