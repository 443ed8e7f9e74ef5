#!/usr/bin/env bash
# What a user types, from data to a server: fit, predict, serve, and where the report is. `make demo` runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# print a command as it is typed, then run it
show_and_run() {
  printf '\n$'
  for word; do case $word in *\ *) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
  printf '\n'
  "$@"
}

show_and_run vertune fit run.yaml
show_and_run vertune predict bank-support "I still have not received my new card, I ordered over a week ago."
show_and_run vertune predict bank-support "The machine kept my card"
show_and_run vertune predict bank-support "Why did you charge me for a transfer to Poland?"

# --open serves without a key, so that the demo stores none
printf '\n$ vertune serve --open --port 0\n'
vertune serve --open --port 0 > served.txt 2>&1 &  # not by show_and_run, whose shell would receive the signal instead
server=$!
trap '{ kill "$server" && wait "$server"; } 2>/dev/null || true; rm -f served.txt' EXIT
# it listens before the model is prepared, and says so when the first answer can be given
until url=$(sed -nE 's#^Answering at (http://[0-9.]+:[0-9]+).*#\1#p' served.txt | head -n 1) && [ -n "$url" ]; do
  kill -0 "$server" 2>/dev/null || { cat served.txt; exit 1; }
  sleep 0.2
done
cat served.txt
show_and_run python -c "from vertune.client import Client; print(Client('$url').predict('bank-support', 'My card has not arrived')[0]['label'])"

# shellcheck disable=SC2012  # names of artifacts hold no odd characters; the newest one is the report
printf '\nThe report: %s\n' "$(ls -td "${VERTUNE_HOME:-$PWD/.vertune}"/reports/*/report.html | head -n 1)"
