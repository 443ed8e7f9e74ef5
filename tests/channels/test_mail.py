"""Mail through a real SMTP server on loopback: encryption, signing in, addresses, and texts in any script."""

import email
import email.policy
import ssl
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from vertune.channels.mail import Mail
from vertune.core.errors import ConfigError, VertuneError
from vertune.testing.channels import MESSAGE

pytestmark = pytest.mark.enable_socket


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The context of a server for 127.0.0.1, and the certificate of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path_factory.mktemp("mail") / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return context, file


class Box:
    """Takes messages, but none for an address that begins with `no`."""

    def __init__(self):
        self.got = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("no"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.got.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default), session.ssl))
        return "250 OK"


@contextmanager
def server(context=None, implicit=False):
    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"ann", b"pass"), handled=False)

    options = {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": context is not None}
    box = Box()
    controller = Controller(box, "127.0.0.1", 0, authenticator=authenticate, auth_require_tls=False, **options)
    controller.port = free_port()
    controller.start()
    try:
        yield controller.port, box
    finally:
        controller.stop()


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def mail(port, **options):
    return Mail(**{"host": "127.0.0.1", "port": port, "sender": "vertune@example.com", "to": ["ann@example.com"], "timeout": 5, **options})


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_a_message_arrives_encrypted_from_a_sender_who_signed_in(certificates, monkeypatch, encryption):
    monkeypatch.setenv("MAIL_PASSWORD", "pass")
    context, authority = certificates
    with server(context, encryption == "tls") as (port, box):
        channel = mail(port, encryption=encryption, authority=authority, user="ann", password_env="MAIL_PASSWORD")
        channel.check()
        channel.send(MESSAGE)
        monkeypatch.setenv("MAIL_PASSWORD", "wrong")
        with pytest.raises(VertuneError, match="did not take the message: 535"):
            channel.send(MESSAGE)
    ((addresses, got, encrypted),) = box.got
    assert addresses == ["ann@example.com"]
    assert encrypted or encryption == "tls"
    assert (got["Subject"], got["From"], got["Message-ID"]) == (MESSAGE.subject, "vertune@example.com", f"<{MESSAGE.id}@vertune.invalid>")
    assert (got["X-Vertune-Delivery"], got["Auto-Submitted"]) == (MESSAGE.id, "auto-generated")
    assert got.get_content().strip().replace("\r\n", "\n") == MESSAGE.text


def test_a_server_that_nobody_vouches_for_gets_no_message(certificates):
    context, _ = certificates
    with server(context) as (port, box), pytest.raises(VertuneError, match="CERTIFICATE_VERIFY_FAILED"):
        mail(port).send(MESSAGE)
    assert box.got == []


def test_a_server_without_encryption_gets_a_message_only_if_that_is_wanted():
    with server() as (port, box):
        with pytest.raises(VertuneError, match="STARTTLS"):
            mail(port).send(MESSAGE)
        mail(port, encryption="none").send(MESSAGE)
    assert len(box.got) == 1


def test_a_subject_adds_no_header_and_an_unknown_address_is_named():
    with server() as (port, box):
        mail(port, encryption="none").send(replace(MESSAGE, subject="a\r\nBcc: eve@example.com"))
        with pytest.raises(VertuneError, match="no such mailbox"):
            mail(port, encryption="none", to=["nobody@example.com"]).send(MESSAGE)
    ((addresses, got, _),) = box.got
    assert (addresses, got["Bcc"], got["Subject"]) == (["ann@example.com"], None, "a Bcc: eve@example.com")


def test_one_address_that_is_refused_is_logged_and_the_others_get_the_message_once(caplog):
    with server() as (port, box):
        mail(port, encryption="none", to=["ann@example.com", "nobody@example.com"]).send(MESSAGE)
    assert [addresses for addresses, _, _ in box.got] == [["ann@example.com"]]
    assert "did not take the message" in caplog.text
    assert "nobody@example.com" in caplog.text


@pytest.mark.parametrize(
    ("options", "why"),
    [({"user": "ann"}, "Only one of `user`"), ({"password_env": "MAIL_PASSWORD"}, "Only one of `user`"),
     ({"user": "ann", "password_env": "MAIL_PASSWORD", "encryption": "none", "host": "mail.example.com"}, "in the open")],
)  # fmt: skip
def test_a_password_needs_a_user_and_encryption(options, why):
    with pytest.raises(ConfigError, match=why):
        mail(25, **options)


def test_what_is_missing_is_noticed_at_the_start(monkeypatch, tmp_path):
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="MAIL_PASSWORD"):
        mail(25, user="ann", password_env="MAIL_PASSWORD").check()
    with pytest.raises(ConfigError, match="can't be read"):
        mail(25, authority=tmp_path / "none.pem").check()
