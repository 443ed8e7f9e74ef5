#!/usr/bin/env bash
# What a user types, from data to a server: fit, predict, serve, and where the report is. `make demo` runs it.
# Arguments: the folder of an example, the name in its run.yaml, and texts to answer, of which the server gets the last one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/$1"
name=$2
shift 2

# print a command as it is typed, then run it
show_and_run() {
  printf '\n$'
  for word; do case $word in *\ *) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
  printf '\n'
  "$@"
}

show_and_run vertune fit run.yaml
for text in "${@:1:$# - 1}"; do show_and_run vertune predict "$name" "$text"; done

# --open serves without a key, so that the demo stores none
printf '\n$ vertune serve --open --port 0\n'
: > served.txt
vertune serve --open --port 0 > served.txt 2>&1 &  # not by show_and_run, whose shell would receive the signal instead
server=$!
trap '{ kill "$server" && wait "$server"; } 2>/dev/null || true; rm -f served.txt' EXIT
# it listens before the model is prepared, and says so when the first answer can be given
until url=$(sed -nE 's#^Answering at (http://[0-9.]+:[0-9]+).*#\1#p' served.txt | head -n 1) && [ -n "$url" ]; do
  kill -0 "$server" 2>/dev/null || { cat served.txt; exit 1; }
  sleep 0.2
done
cat served.txt
show_and_run python -c "from vertune.client import Client; print(Client('$url').predict('$name', '${*: -1}')[0]['label'])"

# shellcheck disable=SC2012  # names of artifacts hold no odd characters; the newest one is the report
printf '\nThe report: %s\n' "$(ls -td "${VERTUNE_HOME:-$PWD/.vertune}"/reports/*/report.html | head -n 1)"
