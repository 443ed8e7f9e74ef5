"""The console is files of the package: served as they are, guarded, cached by hash, with every phrase in both languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import vertune.server
from tests.server.running import problem
from tests.server.test_pages import Links

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
FOLDER = Path(vertune.server.__file__).parent / "console"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
SCRIPTS = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES if name.endswith(".js")}
STYLES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES if name.endswith(".css")}
LANGUAGES = ("en", "zh")
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "json": "application/json", "svg": "image/svg+xml"}


def catalogue(language: str) -> dict[str, dict]:
    """The phrases of a language, by file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "phrases" / language).glob("*.json"))}


CATALOGUES = {language: catalogue(language) for language in LANGUAGES}
ALL = {language: {key: phrase for group in groups.values() for key, phrase in group.items()} for language, groups in CATALOGUES.items()}


# ------------------------------------------------------------------ how it is served


@pytest.fixture(scope="module")
def prefix(server) -> str:
    """The beginning of the addresses of this version's files."""
    return re.search(r'"(/console/[0-9a-f]{16}/)app\.js"', server.stranger.get("/").text)[1]


def test_the_page_needs_no_key_and_lets_nothing_inline_or_from_elsewhere_run(server) -> None:
    page = server.stranger.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {source for name in policy if name.endswith("-src") for source in policy[name].split()} == {"'none'", "'self'", "data:"}
    assert policy["require-trusted-types-for"] == "'script'"
    links = Links(page.text)
    assert not links.inline.strip()
    for link in links.found:
        assert server.stranger.get(link).status_code == 200, link


def test_every_file_is_served_with_its_type_and_kept_by_its_hash(server, prefix) -> None:
    assert FILES
    for name in FILES:
        found = server.stranger.get(f"/console/{name}")
        assert found.status_code == 200, name
        assert found.headers["content-type"].startswith(TYPES[name.rpartition(".")[2]]), name
        assert found.headers["x-content-type-options"] == "nosniff", name
        assert found.headers["cache-control"] == "no-cache", name
        if not name.endswith(".html"):  # whose addresses contain the version
            assert found.content == (FOLDER / name).read_bytes(), name
        again = server.stranger.get(f"/console/{name}", headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", found.headers["etag"]), name
        assert "immutable" in server.stranger.get(prefix + name).headers["cache-control"], name


def test_a_page_names_all_modules_that_it_needs_at_once(server, prefix) -> None:
    needed = {"app.js"}
    while True:
        imports = {
            (FOLDER / name).parent.joinpath(target).resolve().relative_to(FOLDER).as_posix()
            for name in needed
            for target in re.findall(r"""^import [^;]*?from "(.+?)";""", SCRIPTS[name], re.MULTILINE)
        }
        if imports <= needed:
            break
        needed |= imports
    named = re.findall(rf'<link rel="modulepreload" href="{prefix}([^"]+)">', server.stranger.get("/").text)
    assert sorted([*named, "app.js"]) == sorted(needed)


def test_a_file_is_compressed_for_those_who_read_that(server, prefix) -> None:
    packed = server.stranger.get(f"{prefix}app.js", headers={"Accept-Encoding": "gzip"})
    plain = server.stranger.get(f"{prefix}app.js", headers={"Accept-Encoding": "identity, gzip;q=0"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.headers["vary"] == "Accept-Encoding"


def test_head_has_the_headers_alone(server) -> None:
    for path in ("/", "/console/app.js"):
        head, whole = server.stranger.head(path), server.stranger.get(path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["etag"] == whole.headers["etag"]
        assert server.stranger.post(path).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "../service.py", "..%2Fservice.py", "%2e%2e/service.py", "/etc/passwd", "%2Fetc%2Fpasswd", "pages/../../service.py", "pages", "",
        "pages/", "APP.js", "app.js%00", "__init__.py", "0123456789abcdef/nothing.js", "..\\service.py", "app.js/",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server, path) -> None:
    import httpx

    found = server.stranger.send(httpx.Request("GET", httpx.URL(server.url).copy_with(raw_path=f"/console/{path}".encode())))
    assert found.status_code == 404
    assert b"import" not in found.content


def test_a_page_of_another_version_gets_what_there_is_and_does_not_keep_it(server) -> None:
    found = server.stranger.get("/console/0123456789abcdef/app.js")
    assert found.status_code == 200
    assert found.headers["cache-control"] == "no-cache"


def test_the_console_can_be_switched_off(fleet, start) -> None:
    running = start(fleet, console=False)
    for path in ("/", "/console/app.js"):
        assert "switched off" in problem(running.ask.get(path), 404)


# ------------------------------------------------------------------ what is in the files


def test_files_are_short_and_say_what_they_are() -> None:
    for name, content in (SCRIPTS | STYLES).items():
        lines = content.splitlines()
        assert len(lines) <= 500, name
        assert max(map(len, lines)) <= 140, name
        assert lines[0].startswith("/*"), name


def test_no_script_makes_html_of_data_or_loads_from_elsewhere() -> None:
    unsafe = re.compile(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setAttribute\(.style")
    for name, script in SCRIPTS.items():
        assert not unsafe.search(script), name
        assert not re.search(r"""["'`](https?:)?//(?!www\.w3\.org/2000/svg)""", script), name
        for target in re.findall(r"""(?:from|import)\s+["'](.+?)["']""", script):
            assert (FOLDER / name).parent.joinpath(target).resolve().is_relative_to(FOLDER), (name, target)
            assert (FOLDER / name).parent.joinpath(target).is_file(), (name, target)


def test_no_style_loads_anything() -> None:
    assert not [name for name, style in STYLES.items() if re.search(r"url\(|@import", style)]


def test_every_page_has_its_file_and_its_phrases() -> None:
    pages = re.findall(r'\{ path: "([^"]+)", file: "([^"]+)", title: "([^"]+)"', SCRIPTS["pages.js"])
    assert pages
    for path, file, title in pages:
        assert path.startswith("/")
        assert f"pages/{file}.js" in SCRIPTS
        for language in LANGUAGES:
            assert title in CATALOGUES[language]["menu"]
            assert file in CATALOGUES[language]


# ------------------------------------------------------------------ colours

COLOURS = {
    name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", STYLES["styles/tokens.css"])
}
"""Of each colour, that of the light and that of the dark theme."""
GROUNDS = ("ground", "surface", "raised", "sunken")
TEXTS = [
    *((name, ground) for name in ("text", "muted", "accent", "accent-hover", "bad") for ground in GROUNDS),
    *((name, f"{name}-ground") for name in ("accent", "good", "warn", "bad")), ("text", "accent-ground"), ("muted", "accent-ground"),
    ("on-accent", "accent"), ("on-accent", "accent-hover"), *((f"hue-{number}", "surface") for number in range(8)),
]  # fmt: skip
"""Colours of texts, each with the colour behind it."""


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_have_enough_contrast_in_both_themes() -> None:
    for text, ground in TEXTS:
        for one, other in zip(COLOURS[text], COLOURS[ground], strict=True):
            dark, light = sorted((luminance(one), luminance(other)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


# ------------------------------------------------------------------ phrases

PLACES = re.compile(r"\{(\w+)\}")
USES = {
    *(key for script in SCRIPTS.values() for key in re.findall(r"""\bt\(\s*"([\w.-]+)\"""", script)),
    *(key for script in SCRIPTS.values() for key in re.findall(r"""\bphrase: "([\w.-]+)\"""", script)),
    *(key for key in re.findall(r"""title: "([\w.-]+)\"""", SCRIPTS["pages.js"])),
    *(key for key in re.findall(r"""title: "([\w.-]+)\"""", SCRIPTS["app.js"])),
}
"""The keys of phrases that scripts write out."""
BEGINNINGS = {key for script in SCRIPTS.values() for key in re.findall(r"\bt\(\s*`([\w.-]+\.)\$\{", script)}
"""Beginnings of keys whose rest is a value, such as the state of a label."""


def texts(phrase) -> list[str]:
    return list(phrase.values()) if isinstance(phrase, dict) else [phrase]


def test_both_languages_have_the_same_phrases() -> None:
    assert {group: set(phrases) for group, phrases in CATALOGUES["en"].items()} == {
        group: set(phrases) for group, phrases in CATALOGUES["zh"].items()
    }
    assert sum(map(len, CATALOGUES["en"].values())) == len(ALL["en"]), "no key is in two files"


def test_every_phrase_that_is_used_exists() -> None:
    assert ALL["en"].keys() >= USES, USES - ALL["en"].keys()
    assert all(any(key.startswith(beginning) for key in ALL["en"]) for beginning in BEGINNINGS), BEGINNINGS


def test_every_phrase_is_used() -> None:
    """The words of buttons are there for all pages."""
    unused = {key for key in ALL["en"] if key not in USES and not any(key.startswith(beginning) for beginning in {"action.", *BEGINNINGS})}
    assert not unused


def places(phrase) -> set[str]:
    """What is filled in."""
    return {place for text in texts(phrase) for place in PLACES.findall(text)}


def test_phrases_have_the_same_places_in_both_languages_and_are_translated() -> None:
    for key, english in ALL["en"].items():
        chinese = ALL["zh"][key]
        assert all(text.strip() for text in (*texts(english), *texts(chinese))), key
        assert places(english) == places(chinese), key
        assert isinstance(english, dict) == isinstance(chinese, dict), key
        if isinstance(english, dict):
            assert (set(english), set(chinese)) == ({"one", "other"}, {"other"}), key


def test_the_chinese_phrases_are_chinese() -> None:
    same = [key for key, phrase in ALL["zh"].items() if not re.search(r"[\u4e00-\u9fff]", " ".join(texts(phrase)))]
    assert not same
