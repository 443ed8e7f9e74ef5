"""The example of an adapter talks to a server in both directions, as its description says."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest
import yaml

from tests.server.chat.conftest import SECRET, run
from tests.server.chat.test_messages import expected
from tests.server.running import until
from vertune.core.artifact import Home
from vertune.testing.ledger import NAME

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
FILE = Path(__file__).parents[3] / "examples" / "chat_adapter.py"


def test_an_adapter_sends_messages_and_gets_each_reply_once(tmp_path, quick) -> None:
    spec = importlib.util.spec_from_file_location("chat_adapter", FILE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    shown: list[dict] = []
    adapter = example.Adapter("", SECRET, shown.append)
    replies = example.listening(adapter, 0)
    threading.Thread(target=replies.serve_forever, args=(0.02,), daemon=True).start()
    home = Home(tmp_path / "home")
    home.folder.mkdir()
    file = tmp_path / "chat.yaml"
    address = f"http://127.0.0.1:{replies.server_port}/"
    file.write_text(yaml.safe_dump({"adapters": {"terminal": {"app": NAME, "secret_env": "CHAT_SECRET", "send_to": address}}}))
    try:
        with run(home, None, file) as server:
            adapter.incoming = f"{server.url}/v1/apps/{NAME}/incoming/terminal"
            for _ in range(2):
                assert adapter.send("me", "m1", "one")["stage"] == "bot"
            adapter.send("me", "m2", "two")
            until(lambda: len(shown) == 3)
            assert [one["turn"]["text"] for one in shown] == ["Hello", expected("one"), expected("one", "two")]
            assert {one["to"] for one in shown} == {"me"}
            headers = {"X-Vertune-Timestamp": "0", "X-Vertune-Delivery": "x", "X-Vertune-Signature": "v1=0"}
            assert adapter.received(headers, b"{}") == 401
            adapter.secret = "another"
            with pytest.raises(example.urllib.error.HTTPError, match="401"):
                adapter.send("me", "m3", "three")
    finally:
        replies.shutdown()
        replies.server_close()
