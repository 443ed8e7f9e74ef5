#!/usr/bin/env bash
# From a pack to a chat that answers: train the product, evaluate it, serve it, and a page with the chat. `make service` runs it.
# Arguments: the name of the product and its pack. CHECK=1 asks one question over HTTP and ends, instead of waiting.
set -euo pipefail
name=${1:-shop} pack=${2:-shop_zh}
work=${VERTUNE_SERVICE:-$PWD/.service}
mkdir -p "$work"
export VERTUNE_HOME="$work/home"

# print a command as it is typed, then run it
show_and_run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

show_and_run vertune app "$name" train "$pack"

# the page is served by a site of its own, as in real use; a key that only its pages may use opens the chat
site=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
key=$(vertune key create chat --scope chat --origin "http://127.0.0.1:$site" 2>/dev/null)

printf '\n$ vertune app %s serve\n' "$name"
log="$work/served.txt"
: > "$log"
vertune app "$name" serve --port 0 > "$log" 2>&1 &
server=$!
pages=""
trap '{ kill "$server" $pages && wait "$server"; } 2>/dev/null || true' EXIT
until url=$(sed -nE 's#^Answering at (http://[0-9.]+:[0-9]+).*#\1#p' "$log" | head -n 1) && [ -n "$url" ]; do
  kill -0 "$server" 2>/dev/null || { cat "$log"; exit 1; }
  sleep 0.2
done

mkdir -p "$work/site"
cat > "$work/site/index.html" <<PAGE
<!doctype html>
<html lang="zh">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$name</title>
<body style="font: 16px/1.6 system-ui, sans-serif; max-width: 60ch; margin: 40px auto; padding: 0 16px">
<h1>$name</h1>
<p>A page of a shop. The button below on the right opens the chat. 右下角的按钮可以打开对话窗口。</p>
<script type="module" src="$url/widget.js" data-app="$name" data-key="$key"></script>
PAGE
python3 -m http.server "$site" --bind 127.0.0.1 --directory "$work/site" > /dev/null 2>&1 &
pages=$!

printf '\nThe report: %s\n' "$(find "$VERTUNE_HOME/reports" -name report.html -path "*/$name-2*" | sort | tail -n 1)"
printf 'The chat:   http://127.0.0.1:%s\n' "$site"
printf 'The desk:   %s (sign in with the key in %s)\n' "$url" "$VERTUNE_HOME/admin.key"
if [ -n "${CHECK:-}" ]; then
  python3 - "$url" "$name" "$key" "http://127.0.0.1:$site" <<'PYTHON'
import json, sys, time, urllib.error, urllib.request

url, name, key, origin = sys.argv[1:]
began = time.monotonic()


def post(path, body, **headers):
    sent = {"Authorization": f"Bearer {key}", "Origin": origin, "Content-Type": "application/json", **headers}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), sent)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:  # the server converts a model that it serves for the first time
            if error.code != 503 or time.monotonic() > began + 120:
                raise
            time.sleep(int(error.headers["Retry-After"]))


chat = post(f"/v1/apps/{name}/conversations", {"language": None})
print("bot:", *(turn["text"] for turn in chat["turns"]))
for number, text in enumerate(["退货运费谁出", "我的快递到哪了", "转人工"], 1):
    said = {"message": f"m{number}", "sequence": number, "text": text}
    reply = post(f"/v1/apps/{name}/conversations/{chat['id']}/messages", said, **{"X-Conversation-Token": chat["token"]})
    print("you:", text)
    for turn in reply["turns"][1:]:
        print(f"{turn['author']}:", " ".join((turn["text"] or turn["event"] or "").split()), f"[{turn['action']}]")
PYTHON
  exit 0
fi
printf 'Stop with Ctrl-C.\n'
wait "$server"
