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

# the server answers everybody here, because the demo keeps no key; without --open its first start prints one
printf '\n$ vertune serve --open --port 0\n'
vertune serve --open --port 0 > served.txt 2>&1 &  # not by `say`, whose shell would be killed in its place
server=$!
trap '{ kill "$server" && wait "$server"; } 2>/dev/null || true; rm -f served.txt' EXIT
until url=$(grep -oE 'http://[0-9.]+:[0-9]+' served.txt | head -n 1) && [ -n "$url" ]; do
  kill -0 "$server" 2>/dev/null || { cat served.txt; exit 1; }
  sleep 0.2
done
cat served.txt
say python -c "from vertune.client import Client; print(Client('$url').predict('bank-support', 'My card has not arrived')[0]['label'])"

# shellcheck disable=SC2012  # names of artifacts hold no odd characters, and the newest is wanted
printf '\nThe report: %s\n' "$(ls -td "${VERTUNE_HOME:-$PWD/.vertune}"/reports/*/report.html | head -n 1)"
