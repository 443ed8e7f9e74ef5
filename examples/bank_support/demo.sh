#!/usr/bin/env bash
# The whole way, as a user would type it: fit, a few answers, the report. Run by `make demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shows a command as it must be typed, with quotes around a text, and runs it
say() {
  printf '\n$'
  for word; do case $word in *\ *) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
  printf '\n'
  "$@"
}

say vertune fit run.yaml
say vertune predict bank-support "I still have not received my new card, I ordered over a week ago."
say vertune predict bank-support "The machine kept my card"
say vertune predict bank-support "Why did you charge me for a transfer to Poland?"

# shellcheck disable=SC2012  # names of artifacts hold no odd characters, and the newest is wanted
printf '\nThe report: %s\n' "$(ls -td "${VERTUNE_HOME:-$PWD/.vertune}"/reports/*/report.html | head -n 1)"
