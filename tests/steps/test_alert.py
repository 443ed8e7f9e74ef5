"""From measurements to alerts and messages: hysteresis, cool-down, silence, weights, and what survives a process that dies."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests import databases
from vertune.channels.file import File
from vertune.core.channel import Message
from vertune.core.errors import Conflict, Unavailable
from vertune.core.parse import build
from vertune.core.sentence import said, written
from vertune.core.sentence import stored as stored_sentence
from vertune.core.watch import Rule, Watch
from vertune.steps.alert import decide, deliver, messages, raise_alerts, rules
from vertune.store import alerts, deliveries, measurements
from vertune.store.alerts import Alert, Filter, Memory, Silence
from vertune.store.audit import entries
from vertune.store.database import FILE, Database, format_time
from vertune.store.measurements import Measurement
from vertune.store.retrainings import Retraining

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
CHANGED, QUIET, UNKNOWN = "changed", "quiet", "unknown"


@pytest.fixture
def database(tmp_path):
    with closing(Database(databases.new(tmp_path / FILE))) as opened:
        yield opened


def measured(hour, verdict, monitor="text_drift", value=0.8, p=0.001):
    at, end = (format_time(BEGIN + timedelta(hours=hour + more)) for more in (0, 1))
    return Measurement(
        "intent", monitor, at, end, value, 0.7, 0.9, p, 500, verdict, f"ROC-AUC {value}.", [{"word": "refund", "share": 0.25}]
    )


def watch(tmp_path=None, **rule):
    channels = [] if tmp_path is None else [{"name": "file", "path": str(tmp_path / "alerts.jsonl")}]
    return build(Watch, {"rules": [{"name": "drift", "monitors": ["text_drift", "language"], "after": 1, **rule}], "channels": channels})


def run(database, found, options, every=1):
    """Let the rules look after each window, or after several; return what happened, by its window."""
    happened = []
    for start in range(0, len(found), every):
        with database.writing() as connection:
            measurements.add(connection, found[start : start + every])
        happened += [(one.state, one.changed[11:13]) for one in raise_alerts(database, "intent", options)]
    return happened


def stored(database):
    with database.reading() as connection:
        return alerts.find(connection, Filter(), 100)


@pytest.mark.parametrize("every", [1, 3, 100])
def test_an_alert_opens_after_a_run_of_changes_and_ends_after_a_run_of_calm(database, every):
    seen = [QUIET, CHANGED, QUIET, CHANGED, UNKNOWN, CHANGED, QUIET, CHANGED, QUIET, UNKNOWN, QUIET, QUIET]
    found = [measured(hour, verdict) for hour, verdict in enumerate(seen)]
    assert run(database, found, watch(after=2, calm=2), every) == [("open", "06"), ("resolved", "11")]
    (alert,) = stored(database)
    assert (alert.state, alert.began, alert.ended) == ("resolved", found[3].at, found[10].window_end)
    assert run(database, found[-1:], watch(after=2, calm=2)) == [], "a window is judged once"


def test_changes_that_two_monitors_see_one_after_the_other_are_no_run(database):
    found = [measured(hour, verdict, name) for hour in range(6) for name, verdict in (
        ("text_drift", CHANGED if hour % 2 else QUIET), ("language", QUIET if hour % 2 else CHANGED),
    )]  # fmt: skip
    assert run(database, found, watch(after=2), every=2) == []
    assert run(database, [measured(6, CHANGED), measured(6, QUIET, "language")], watch(after=2), every=2) == [("open", "07")]


def test_no_alert_follows_another_within_the_cool_down(database):
    seen = [CHANGED, QUIET, CHANGED, CHANGED, CHANGED, QUIET]
    options = watch(calm=1, cool_down="3h")
    assert run(database, [measured(hour, verdict) for hour, verdict in enumerate(seen)], options) == [
        ("open", "01"), ("resolved", "02"), ("open", "05"), ("resolved", "06"),
    ]  # fmt: skip


def test_an_alert_shows_the_strongest_of_the_findings_of_its_rule(database):
    found = [measured(0, CHANGED), measured(0, CHANGED, "language", 0.3, 1e-9), measured(0, CHANGED, "volume", 9, 0.0)]
    assert run(database, found, watch(), every=3) == [("open", "01")]
    assert run(database, [measured(1, CHANGED, value=0.9), measured(1, QUIET, "language")], watch(), every=2) == []
    (alert,) = stored(database)
    assert (alert.monitor, alert.value, alert.began) == ("text_drift", 0.9, found[0].at)


def test_messages_are_sent_once_in_order_and_again_after_a_failure(database, tmp_path):
    options = watch(tmp_path, calm=1)
    channels = {"file": options.channels[0]}

    class Broken(File):
        def send(self, message):
            raise Unavailable("The disk is away. Fetch it.")

    run(database, [measured(0, CHANGED), measured(1, QUIET)], options, every=2)
    assert deliver(database, {}) == 0, "a channel that is not configured any more gets nothing"
    assert deliver(database, {"file": Broken(path=tmp_path / "x")}) == 0
    with database.writing() as connection:
        connection.execute(deliveries.schema.deliveries.update().values(next=""))  # the pause is over
    assert [deliver(database, channels) for _ in range(3)] == [1, 1, 0]
    lines = (tmp_path / "alerts.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert ['"opened"' in lines[0], '"resolved"' in lines[1], len(lines)] == [True, True, 2]
    (alert,) = stored(database)
    with database.reading() as connection:
        assert [(one.state, one.attempts) for one in deliveries.of_alert(connection, alert.id)] == [("sent", 2), ("sent", 1)]


def test_a_process_that_dies_after_sending_sends_the_same_message_again(database, tmp_path, monkeypatch):
    options = watch(tmp_path)
    run(database, [measured(0, CHANGED)], options)
    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "sent", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deliver(database, {"file": options.channels[0]})
    assert deliver(database, {"file": options.channels[0]}) == 1
    assert len((tmp_path / "alerts.jsonl").read_text(encoding="utf-8").split("\n")) == 2, "the receiver knew the repeated one by its id"


def test_a_process_that_lost_its_work_changes_and_sends_nothing(database, tmp_path):
    options = watch(tmp_path)

    def lost(connection):
        raise Conflict("Another process does this work now. Wait.")

    with database.writing() as connection:
        measurements.add(connection, [measured(0, CHANGED)])
    with pytest.raises(Conflict):
        raise_alerts(database, "intent", options, lost)
    assert stored(database) == []
    raise_alerts(database, "intent", options)
    with pytest.raises(Conflict):
        deliver(database, {"file": options.channels[0]}, lost)
    assert not (tmp_path / "alerts.jsonl").exists()


def test_a_silence_hides_nothing_and_tells_nobody_until_it_ends(database, tmp_path):
    options = watch(tmp_path, calm=1)
    silence = Silence("intent", None, format_time(datetime.now(UTC) + timedelta(hours=1)), "ann", "a sale")
    with database.writing() as connection:
        alerts.add_silence(connection, silence)
    run(database, [measured(0, CHANGED)], options)
    (alert,) = stored(database)
    assert (alert.state, alert.messages) == ("open", 0)
    with database.writing() as connection:
        alerts.remove_silence(connection, silence.id)
    raise_alerts(database, "intent", options)
    raise_alerts(database, "intent", options)
    assert stored(database)[0].messages == 1, "the change lasts, so people are told once the silence is over"


def test_nobody_is_told_of_the_end_of_an_alert_that_nobody_was_told_of(database, tmp_path):
    options = watch(tmp_path, calm=1)
    with database.writing() as connection:
        alerts.add_silence(connection, Silence(None, "drift", format_time(datetime.now(UTC) + timedelta(hours=1)), "ann", ""))
    assert len(run(database, [measured(0, CHANGED), measured(1, QUIET)], options)) == 2
    with database.reading() as connection:
        assert deliveries.waiting(connection) == 0


def test_false_alerts_lower_the_weight_of_their_rule_and_right_ones_raise_it(database):
    options, rule = watch(calm=1, cool_down="1s"), Rule(name="drift", after=1)
    hours, weights, windows = iter(range(100)), [], []
    for state in ("false", "false", "acknowledged", "acknowledged"):
        with database.reading() as connection:
            memory = alerts.memories(connection, "intent").get("drift", Memory())
        weights.append(memory.weight)
        windows.append(rules.needed(rule, memory))
        run(database, [measured(next(hours), CHANGED, value=round(0.8 + len(weights) / 100, 2)) for _ in range(windows[-1])], options)
        with database.writing() as connection:
            (alert,) = alerts.unsolved(connection, "intent").values()
            decide(connection, alert, state, "ann", "as usual")
            if state == "false":
                memory = alerts.memories(connection, "intent")["drift"]  # its end is today, and no window is
                alerts.remember(connection, "intent", "drift", replace(memory, state={**memory.state, "ended": None}))
        run(database, [measured(next(hours), QUIET)], options)
    assert weights == [1.0, 0.5, 0.333, 0.429]
    assert windows == [1, 2, 4, 3]
    with database.reading() as connection:
        about = rules.suggestion(rule, alerts.memories(connection, "intent")["drift"])
        noted = [one.details for one in entries(connection) if one.action == "call false"]
    assert (about["false"], about["right"], about["largest"]) == (2, 2, {"text_drift": 0.82})
    assert [(one["weight_before"], one["weight"], one["rule"]) for one in noted] == [(1.0, 0.5, "drift"), (0.5, 0.333, "drift")]
    sentences = messages.advice(rule, Memory(0.333, {"false": 2, "largest": {"text_drift": 0.82}}), "en")
    assert "False alerts of the rule 'drift': 2;" in sentences[0]
    assert "0.82" in sentences[1]


def test_an_alert_whose_rule_is_gone_ends(database):
    run(database, [measured(0, CHANGED)], watch())
    raise_alerts(database, "intent", build(Watch, {"rules": []}))
    (ended,) = stored(database)
    assert (ended.state, written(ended.comment, "zh")) == ("resolved", "它的规则已不再生效。")


def test_the_bug_of_a_channel_is_named_in_the_language_of_who_reads_it(database, tmp_path):
    class Broken(File):
        def send(self, message):
            raise KeyError("internal")

    run(database, [measured(0, CHANGED)], watch(tmp_path))
    assert deliver(database, {"file": Broken(path=tmp_path / "x")}) == 0
    with database.reading() as connection:
        (one,) = deliveries.of_alert(connection, stored(database)[0].id)
    assert written(one.error, "zh") == "渠道“file”意外失败（KeyError）；服务器的日志中有出错的位置。"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_message_says_what_happened_since_when_how_bad_why_and_what_to_do(language):
    alert = Alert(
        "a1", "intent", "drift", "errors", "critical", "open", measured(0, CHANGED).at, measured(30, CHANGED).window_end, None, 0.125,
        "12.5 % failed.", [{"word": "refund", "share": 0.123456}, *({"word": str(number), "share": 0.0} for number in range(20))],
    )  # fmt: skip
    rule, memory = Rule(name="drift"), Memory(0.5, {"false": 1, "largest": {"errors": 0.1}})
    opened, resolved = (messages.message(event, alert, rule, memory, language) for event in ("opened", "resolved"))
    for part in (
        "intent",
        "2030-01-01 00:00",
        "12.5 %",
        "12.5 % failed.",
        {"en": "word: refund, share: 0.123", "zh": "词: refund, share: 0.123"}[language],
        "13",
        "0.5",
        "10.0 %",
        "/v1/alerts/a1/",
    ):
        assert part in opened.text, part
    assert {"en": "31 hours", "zh": "31 小时"}[language] in opened.text
    assert {"en": "[critical] intent: share of failed requests", "zh": "[严重] intent：失败率"}[language] == opened.subject
    assert {"en": "roll back", "zh": "请回滚"}[language] in opened.text
    assert {"en": "is over", "zh": "已结束"}[language] in resolved.text
    assert "{" not in opened.text + resolved.text


def test_a_message_quotes_what_the_monitor_says_in_its_language():
    sentence = stored_sentence(said("shares", share="12.5 %", what=said("errors.failed"), before="1.0 %", p="p = 0.01"))
    alert = Alert(
        "a1", "intent", "drift", "errors", "critical", "open", measured(0, CHANGED).at, measured(1, CHANGED).at, None, 0.1, sentence, []
    )
    texts = [messages.message("opened", alert, Rule(name="drift"), Memory(), language).text for language in ("en", "zh")]
    assert "12.5 % of the requests failed, 1.0 % in the reference (p = 0.01)." in texts[0]
    assert "12.5 % 的请求失败，参照中为 1.0 %（p = 0.01）。" in texts[1]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("event", ["refused", "waiting", "failed", "passed", "live"])
def test_a_message_about_a_retraining_says_why_what_it_made_and_what_to_do(event, language):
    began = format_time(datetime.now(UTC) - timedelta(hours=3))
    one = Retraining("r1", "intent", began, "train", {}, "j1", None, None, None, None, began)
    why = said("retraining.refused", checks=[said("check.gold rows"), said("check.labels")])
    made = {"job": "j1", "dataset": "d1", "model": "intent-2", "report": "report-3"}
    found = messages.of_retraining(event, one, why, made, language)
    assert (found.alert, found.event, found.vertical) == ("r1", event, "intent")
    assert {"en": "it fails on gold rows and labels", "zh": "未通过的项目是金标准行、各标签"}[language] in found.text
    assert {"en": "3 hours", "zh": "3 小时"}[language] in found.text
    for part in ("intent-2", "report-3"):
        assert part in found.text
    assert "intent" in found.subject
    assert "vertune" in found.text
    assert "{" not in found.text + found.subject
    assert Message.read("x", found.payload()).text == found.text


def test_both_languages_have_the_same_phrases_and_advice_for_every_monitor():
    from vertune.core import part

    en, zh = (messages._phrases(language) for language in ("en", "zh"))
    assert en.keys() == zh.keys()
    assert {event: sorted(texts) for event, texts in en["retraining"].items()} == {
        event: sorted(texts) for event, texts in zh["retraining"].items()
    }
    assert en["made"].keys() == zh["made"].keys()
    assert en["advice"].keys() == zh["advice"].keys() == {"default", *part.names("monitors")}
    assert set(part.names("monitors")) == set(zh["titles"])
