# Completion for bash. What there is to complete is read from the help of the program itself.
_textinv() {
  local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} before=${COMP_WORDS[COMP_CWORD - 1]} words

  [[ $cur == = ]] && cur='' # --name=value comes as three words
  [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
  if ((COMP_CWORD == 1)); then
    words=$("$1" --help | awk '$1 == "textinv" && $2 != "-" && $2 != "COMMAND" { print $2 }')
  elif [[ $cur == -* ]]; then
    words="--help --help-all $("$1" "$command" --help-all | awk '/^  --/ { print $1 }')"
  else # the values a|b|c, also on further lines; names in capitals stand for something else
    words=$("$1" "$command" --help-all | awk -v option="$before" '
      /^$/ { on = 0 }
      /^  --/ { on = $1 == option; for (i = 2; i <= NF; i++) if (on && $i ~ /\|/) print $i; next }
      on { print $1 }' | tr '|' ' ')
    words=${words//[A-Z]/}
  fi 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _textinv textinv
