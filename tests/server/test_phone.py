"""The address of a page for a phone: only one that a phone can reach, with its QR code."""

from __future__ import annotations

import re

import pytest

from vertune.server.resources import phone
from vertune.server.settings import OpenIDSettings, Settings, TLSFiles

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TLS = TLSFiles("cert.pem", "key.pem")


def test_on_a_local_address_there_is_no_page_for_a_phone(server) -> None:
    assert server.ask.get("/v1/verticals/intent/phone").json() == {"url": None, "svg": None}
    found = server.ask.get("/v1/verticals/intent/phone", headers={"Host": "models.example:8443"}).json()
    assert found["url"] == "http://models.example:8443/#/try/intent"
    assert found["svg"].startswith("<svg xmlns=")


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        (Settings(), "localhost:8000", None),
        (Settings(), "[::1]:8000", None),
        (Settings(), 'a"><script>', None),
        (Settings(host="10.0.0.7", tls=TLS), "127.0.0.1:8000", "https://10.0.0.7:8000"),
        (Settings(host="0.0.0.0", behind_proxy=True), "127.0.0.1:8000", "https://192.168.1.20:8000"),
        (Settings(host="::", tls=TLS), "localhost", "https://192.168.1.20"),
        (Settings(host="fd00::7", tls=TLS), "localhost:1", "https://[fd00::7]:1"),
        (Settings(host="0.0.0.0", tls=TLS), "models.bank.example", "https://models.bank.example"),
        (Settings(openid=OpenIDSettings(url="https://labels.example/")), "localhost:8000", "https://labels.example"),
    ],
)
def test_the_address_is_one_that_a_phone_can_reach(monkeypatch, settings, host, expected) -> None:
    monkeypatch.setattr(phone, "_own_address", lambda: "192.168.1.20")
    assert phone._origin(settings, host) == expected


def test_without_a_network_there_is_no_address(monkeypatch) -> None:
    monkeypatch.setattr(phone, "_own_address", lambda: None)
    assert phone._origin(Settings(host="0.0.0.0", tls=TLS), "localhost:8000") is None


def test_the_code_has_finder_patterns_and_a_quiet_zone() -> None:
    """Three of the corners of a QR code have the pattern by which readers find it (ISO/IEC 18004, 6.3.3)."""
    svg = phone.qr_code("https://192.168.1.20:8000/#/try/intent")
    size = int(re.search(r'viewBox="0 0 (\d+) \1"', svg)[1])
    dark = [[False] * size for _ in range(size)]
    x, y = 0.0, 0.0
    for command, rest in re.findall(r"([MmhHvV])([-\d. ]*)", re.search(r'<path class="qrline" [^>]*d="([^"]+)"', svg)[1]):
        values = [float(one) for one in rest.split()]
        if command == "M":
            x, y = values
        elif command == "m":
            x, y = x + values[0], y + values[1]
        else:
            for column in range(int(x), int(x + values[0])):
                dark[int(y)][column] = True
            x += values[0]
    finder = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]

    def corner(top: int, left: int) -> list[str]:
        return ["".join("01"[dark[row][column]] for column in range(left, left + 7)) for row in range(top, top + 7)]

    end = size - 4 - 7
    assert corner(4, 4) == corner(4, end) == corner(end, 4) == finder
    assert not any(dark[row][column] for row in range(4) for column in range(size))
