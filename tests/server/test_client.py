"""vertune.client against the real server: the same answers, and errors of the same classes and words as of the steps."""

from __future__ import annotations

import numpy as np
import pytest
import typer

from tests.server.conftest import TEXTS, VERTICALS
from tests.server.running import same
from vertune import __version__
from vertune.client import Client
from vertune.client.diagnosis import diagnose
from vertune.core.errors import AccessError, Busy, DataError, NotFound, VertuneError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url, server._key) as made:
        yield made


def test_answers_are_those_of_the_model_alone(client, alone) -> None:
    assert same(client.predict("intent", TEXTS), alone("intent", TEXTS))
    assert same(client.predict("spans", TEXTS[0]), alone("spans", TEXTS[:1]))
    records = [{"question": "which one", "context": text} for text in TEXTS]
    assert same(client.predict("faq", records), alone("faq", records))


def test_several_verticals_at_once(client, alone) -> None:
    found = client.ask(["whole", "intent"], TEXTS)
    assert list(found) == ["whole", "intent"]
    assert all(same(answers, alone(name, TEXTS)) for name, answers in found.items())


def test_vectors(client, alone) -> None:
    np.testing.assert_allclose(client.embed("find", TEXTS), [answer["vector"] for answer in alone("find", TEXTS)], atol=1e-4)


def test_what_is_served(client) -> None:
    assert [one["name"] for one in client.verticals()] == sorted(VERTICALS)
    assert client.ready() is True


def test_errors_are_raised_as_the_step_raises_them(client, alone, server) -> None:
    with pytest.raises(NotFound, match=r"No model is served under the name 'nobody'\. Choose from: faq"):
        client.predict("nobody", "a")
    with pytest.raises(NotFound):
        client.predict("../../etc/passwd", "a")
    with pytest.raises(DataError) as expected:
        alone("intent", [" "])
    with pytest.raises(DataError) as found:
        client.predict("intent", " ")
    assert str(found.value) == str(expected.value)
    with pytest.raises(DataError, match="at most 1024 records"):
        client.predict("intent", ["a"] * 1025)
    with Client(server.url, "vt_0123456789ab_other") as stranger, pytest.raises(AccessError, match="not known") as refused:
        stranger.predict("intent", "a")
    assert refused.value.http_status == 401


def test_a_deadline_that_can_not_be_met_is_busy(server) -> None:
    with Client(server.url, server._key, deadline=0.002) as hasty, pytest.raises(VertuneError) as raised:
        hasty.predict("intent", TEXTS * 100)
    assert isinstance(raised.value, Busy) or "did not answer within" in str(raised.value)


def test_a_server_that_stops_is_not_ready(fleet, start) -> None:
    running = start(fleet)
    with Client(running.url) as made:
        assert made.ready() is True
        running.service.draining = True
        assert made.ready() is False
        with pytest.raises(Busy, match="is stopping"):
            made.predict("intent", "a")


def test_a_server_that_is_well_is_found_to_be_well(server, client) -> None:
    client.predict("intent", TEXTS)
    findings = list(diagnose(client, __version__))
    elsewhere = ("requests", "disk")  # other tests let requests fail, and the disk of tests may be small
    assert [one for one in findings if one.level != "good" and one.what not in elsewhere] == []
    looked_at = {"connection", "clock", "version", "readiness", "storage", "verticals", "requests", "disk"}
    assert {one.what for one in findings} == looked_at


def test_the_doctor_of_the_command_line_asks_a_server(server, monkeypatch, capsys) -> None:
    from vertune.cli.doctor import _check_server

    monkeypatch.setenv("VERTUNE_KEY", "vt_0123456789ab_other")
    with pytest.raises(typer.Exit):
        _check_server(server.url, "", "", json=False)
    assert "The key was refused" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(typer.Exit):
        _check_server("http://127.0.0.1:9", "", "", json=True)
    assert '"bad"' in capsys.readouterr().out
