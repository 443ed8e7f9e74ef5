"""The tables of the server's database, for SQLite and PostgreSQL; independent of what reads and writes them.

Times are texts in UTC, such as `2030-01-31T12:00:00.000000+00:00`, which have the same order as the times and look alike in both
databases. The ids of requests and feedback begin with their time (RFC 9562, version 7), so new rows are added at the end of an index,
and rows that have become too old are next to each other.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table, Text, text

REVISION = "0010"
"""The last migration in `migrations/versions`; a database that has it needs no migration."""
_USABLE = "record IS NOT NULL AND target IS NOT NULL"
"""Which feedback a model can learn from."""
_FREE, _HELD, _PENDING = "places > 0 AND held = 0", "held = 1", "state = 'pending'"
"""Which records can be given to annotators, which are held out for review, and which labels are only reserved."""
_UNSENT = "channel IS NOT NULL AND delivered < turn"
"""Which conversations have turns that their adapter has not got yet."""
metadata = MetaData()

keys = Table(
    "keys", metadata,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("verticals", Text),
    Column("created", Text, nullable=False),
    Column("expires", Text),
    Column("revoked", Text),
    Column("rate", Text),
    Column("successor", Text),
    Column("customer", Text),
    Column("origin", Text),
)  # fmt: skip
"""API keys. `hash` is the SHA-256 of the secret; `scopes` and `verticals` are divided by spaces; a page of `origin` may show the secret."""

revisions = Table(
    "revisions", metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)  # fmt: skip
"""A random value for a table, which changes with the table, so that a process that caches it knows when to read it again."""

requests = Table(
    "requests", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("key", Text),
    Column("resource", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("records", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("idempotency", Text),
    Column("failed", Text),
    Index("requests_by_customer", "customer", "id"),
    Index("requests_by_key", "key", "id"),
    Index("requests_by_idempotency", "customer", "idempotency", unique=True),
)  # fmt: skip
"""Requests that reached a model, with the time that each took. `failed` is null for those with answers, which name their verticals; for
others it has the names of the verticals, with a space before and after each."""

answers = Table(
    "answers", metadata,
    Column("request", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("vertical", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("record", Text),
    Column("fingerprint", LargeBinary),
    Column("answer", Text, nullable=False),
    Column("confidence", Double),
    Index("answers_by_vertical", "vertical", "request", "number"),
    Index("answers_by_fingerprint", "fingerprint"),
)  # fmt: skip
"""Answers of models: `record` and `answer` are JSON. `record` is null where texts are not kept; `fingerprint` finds a record again."""

feedback = Table(
    "feedback", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("key", Text),
    Column("vertical", Text, nullable=False),
    Column("model", Text),
    Column("request", String(32)),
    Column("number", Integer),
    Column("record", Text),
    Column("fingerprint", LargeBinary),
    Column("verdict", Text),
    Column("target", Text),
    Column("comment", Text),
    Column("score", SmallInteger),
    Column("author", Text),
    Column("trust", Double, nullable=False),
    Column("idempotency", Text),
    Column("digest", LargeBinary, nullable=False),
    Index("feedback_by_vertical", "vertical", "id"),
    Index("feedback_by_customer", "customer", "id"),
    Index("feedback_by_customer_and_vertical", "customer", "vertical", "id"),
    Index("feedback_by_author", "author", "id"),
    Index("feedback_usable", "vertical", "id", sqlite_where=text(_USABLE), postgresql_where=text(_USABLE)),
    Index("feedback_by_answer", "request", "number"),
    Index("feedback_by_fingerprint", "fingerprint"),
    Index("feedback_by_idempotency", "customer", "idempotency", unique=True),
)  # fmt: skip
"""What users said about answers. `target` is JSON: the right label, labels, spans or number. `digest` recognises a repeated request."""

usage = Table(
    "usage", metadata,
    Column("day", Text, primary_key=True),
    Column("customer", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("vertical", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("jobs", BigInteger, nullable=False, server_default="0"),
    Index("usage_by_customer", "customer", "day"),
)  # fmt: skip
"""What each customer, key and vertical used on a day in UTC."""

rollouts = Table(
    "rollouts", metadata,
    Column("vertical", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("live", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("share", Double, nullable=False),
    Column("rules", Text, nullable=False),
    Column("began", Text, nullable=False),
    Column("first", String(32), nullable=False),
    Column("actor", Text, nullable=False),
)  # fmt: skip
"""Candidates that are being compared with live models. `first` is an id: requests and feedback with greater ones came later."""

versions = Table(
    "versions", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("vertical", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("previous", Text),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("versions_by_vertical", "vertical", "id"),
)  # fmt: skip
"""Which model became live or candidate when, by whom and why. `evidence` is JSON: the figures that a decision was made on."""

audit = Table(
    "audit", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
)  # fmt: skip
"""Who changed what. `details` is JSON and never contains a text of a user."""

uploads = Table(
    "uploads", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("key", Text),
    Column("name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("report", Text, nullable=False),
    Index("uploads_by_customer", "customer", "id"),
)  # fmt: skip
"""Files with records that customers sent. `format` is the name of a source, and `report` is JSON; the file lies in the home folder."""

jobs = Table(
    "jobs", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("key", Text),
    Column("kind", Text, nullable=False),
    Column("vertical", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("started", Text),
    Column("ended", Text),
    Column("worker", Text),
    Column("lease", Text),
    Column("stop", SmallInteger, nullable=False),
    Column("result", Text),
    Column("why", Text),
    Column("idempotency", Text),
    Column("digest", LargeBinary, nullable=False),
    Index("jobs_by_state", "state", "priority", "id"),
    Index("jobs_by_customer", "customer", "id"),
    Index("jobs_by_idempotency", "customer", "idempotency", unique=True),
)  # fmt: skip
"""Work for which a request does not wait. `lease` changes while the worker of a running job works; others look whether it does."""

job_events = Table(
    "job_events", metadata,
    Column("job", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("event", Text, nullable=False),
)  # fmt: skip
"""What happened in a job, in order; `event` is JSON."""

secrets = Table(
    "secrets", metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)  # fmt: skip
"""Random values that this database alone knows, such as the one that fingerprints are made with."""

projects = Table(
    "projects", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("upload", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("records", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("found", Text),
    Index("projects_by_customer", "customer", "name", unique=True),
)  # fmt: skip
"""Labelling projects. `task`, `settings` and `found` are JSON: the task with its labels, the guidelines and rules, and what the last
ranking of the records found. `turn` is the number of rankings."""

records = Table(
    "records", metadata,
    Column("project", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("record", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("held", SmallInteger, nullable=False),
    Column("places", SmallInteger, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("suggestion", Text),
    Column("confidence", Double),
    Index("records_free", "project", "rank", "number", sqlite_where=text(_FREE), postgresql_where=text(_FREE)),
    Index("records_held", "project", "number", sqlite_where=text(_HELD), postgresql_where=text(_HELD)),
    Index("records_by_fingerprint", "fingerprint"),
)  # fmt: skip
"""The records of projects. `held` is 1 for the hold-out, `places` is the number of further annotators who may see the record, and those
with a lower `rank` are labelled first. `record` and `suggestion` are JSON."""

labels = Table(
    "labels", metadata,
    Column("project", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("annotator", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("until", Text),
    Column("target", Text),
    Column("seconds", Double),
    Column("version", BigInteger, nullable=False),
    Column("batch", String(32)),
    Index("labels_by_id", "project", "id"),
    Index("labels_by_annotator", "project", "annotator", "state", "id"),
    Index("labels_by_batch", "batch"),
    Index("labels_pending", "project", "until", sqlite_where=text(_PENDING), postgresql_where=text(_PENDING)),
)  # fmt: skip
"""What each annotator says of a record, or, in the state `pending`, that the record is reserved for this annotator until a time.
`version` grows with each change that an annotator makes, so that a delayed request does not replace a later one."""

tallies = Table(
    "tallies", metadata,
    Column("project", String(32), primary_key=True),
    Column("annotator", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)  # fmt: skip
"""How many labels of each state an annotator gave. The annotator '' with the state `done` stands for the records with at least one label.
They are changed with the labels, because counting a million labels takes a second."""

decisions = Table(
    "decisions", metadata,
    Column("project", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Text, nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("reason", Text, nullable=False),
)  # fmt: skip
"""The right answers that reviewers decided on, with their reasons."""

users = Table(
    "users", metadata,
    Column("id", String(32), primary_key=True),
    Column("at", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password", Text),
    Column("subject", Text),
    Column("disabled", SmallInteger, nullable=False),
    Index("users_by_name", "name", unique=True),
    Index("users_by_subject", "subject", unique=True),
)  # fmt: skip
"""People who sign in. `password` is an Argon2 hash; `subject` is the issuer and the subject of an identity of OpenID Connect."""

sessions = Table(
    "sessions", metadata,
    Column("id", Text, primary_key=True),
    Column("user", String(32), nullable=False),
    Column("token", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("seen", Text, nullable=False),
    Column("expires", Text, nullable=False),
    Index("sessions_by_user", "user"),
)  # fmt: skip
"""Signed-in browsers. `id` is the SHA-256 of the cookie, in hexadecimal, and `token` protects against requests of other sites (CSRF)."""

measurements = Table(
    "measurements", metadata,
    Column("vertical", Text, primary_key=True),
    Column("monitor", Text, primary_key=True),
    Column("at", Text, primary_key=True),
    Column("window_end", Text, nullable=False),
    *(Column(name, Double) for name in ("value", "low", "high", "p")),
    Column("n", BigInteger, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("verdict", "why", "evidence")),
    Column("origin", Text, nullable=False, server_default="look"),
    Index("measurements_by_end", "window_end"),
)  # fmt: skip
"""What monitors found in the window of requests from `at` to `window_end`. `evidence` is JSON, and may quote words of stored texts.
`origin` is what looked: the schedule (`look`), the schedule at a time with hardly any request (`pause`), or a person (`report`)."""

alerts = Table(
    "alerts", metadata,
    Column("id", String(32), primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("vertical", "rule", "monitor", "severity", "state", "began", "changed")),
    Column("ended", Text),
    Column("value", Double),
    *(Column(name, Text, nullable=False) for name in ("why", "evidence")),
    *(Column(name, Text) for name in ("actor", "comment")),
    Column("messages", Integer, nullable=False),
    Index("alerts_by_vertical", "vertical", "id"),
    Index("alerts_by_state", "state", "id"),
)  # fmt: skip
"""What people are told about a vertical. `actor` and `comment` are those of the last person who changed it, and `messages` is the number
of times that channels were to tell of it."""

deliveries = Table(
    "deliveries", metadata,
    Column("alert", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("id", String(32), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("payload", "state")),
    Column("attempts", Integer, nullable=False),
    Column("next", Text, nullable=False),
    Column("error", Text),
    Index("deliveries_by_state", "state", "next"),
)  # fmt: skip
"""Messages about alerts, each once for a channel. `next` is when it is tried next; the receiver knows a repeated one by its `id`."""

silences = Table(
    "silences", metadata,
    Column("id", String(32), primary_key=True),
    *(Column(name, Text) for name in ("vertical", "rule")),
    *(Column(name, Text, nullable=False) for name in ("until", "actor", "reason")),
)  # fmt: skip
"""Times in which nobody is told of a rule's alerts; a null vertical or rule stands for all."""

rules = Table(
    "rules", metadata,
    *(Column(name, Text, primary_key=True) for name in ("vertical", "rule")),
    Column("weight", Double, nullable=False),
    Column("state", Text, nullable=False),
)  # fmt: skip
"""What a rule remembers between two runs, in JSON, and how much it is believed: people who call its alerts false lower the weight."""

leases = Table(
    "leases", metadata,
    Column("name", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("holder", "token", "changed")),
)  # fmt: skip
"""Work that one of several servers does. Its holder changes the token again and again; others look whether it changes."""

retrainings = Table(
    "retrainings", metadata,
    Column("id", String(32), primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("vertical", "at", "stage", "request")),
    *(Column(name, Text) for name in ("job", "dataset", "model", "report", "why")),
    Column("changed", Text, nullable=False),
    Index("retrainings_by_vertical", "vertical", "id"),
    Index("retrainings_by_stage", "stage"),
)  # fmt: skip
"""Trainings of a vertical on what it learnt since, and how far each has come. `request` is JSON: why it began, and with what."""

conversations = Table(
    "conversations", metadata,
    Column("id", String(32), primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("app", "customer", "stage", "changed", "state", "known", "reasons")),
    *(Column(name, Text) for name in ("key", "visitor", "language", "agent", "queued", "summary", "comment", "channel", "sender")),
    Column("token", LargeBinary, nullable=False),
    *(Column(name, Integer, nullable=False) for name in ("turn", "sequence", "delivered")),
    Column("satisfaction", SmallInteger),
    Index("conversations_by_stage", "stage", "queued", "id"),
    Index("conversations_by_customer", "customer", "stage", "id"),
    Index("conversations_by_app", "app", "id"),
    Index("conversations_by_key", "key", "id"),
    Index("conversations_by_change", "stage", "changed"),
    Index("conversations_by_sender", "channel", "sender", unique=True),
    Index("conversations_unsent", "id", sqlite_where=text(_UNSENT), postgresql_where=text(_UNSENT)),
)  # fmt: skip
"""Conversations of apps. `turn` is the number of the last turn, and `sequence` that of the last message in the order of the visitor.
`state`, `known` and `reasons` are JSON; `state`, `known` and `sender` are emptied when the conversation ends. `token` is a SHA-256."""

turns = Table(
    "turns", metadata,
    Column("conversation", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("author", "at")),
    *(Column(name, Text) for name in ("message", "text", "action", "reply", "label", "model")),
    Column("sequence", Integer),
    *(Column(name, LargeBinary) for name in ("digest", "fingerprint")),
    Column("call", String(32)),
    Index("turns_by_message", "conversation", "message", unique=True),
    Index("turns_by_fingerprint", "fingerprint"),
    Index("turns_by_action", "author", "action", "conversation"),
)  # fmt: skip
"""What was said. `message` is the id of the client, which `digest` tells from another one with this id. `action` of a visitor's turn is
what the app did about it. `reply` is the JSON of a reply, and `label` what people say was right."""

early_messages = Table(
    "early_messages", metadata,
    Column("conversation", String(32), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("message", "at", "content")),
)  # fmt: skip
"""Messages that wait for earlier ones of their conversation. `content` is JSON, and is deleted when the message is answered."""

actions = Table(
    "actions", metadata,
    Column("conversation", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("name", "arguments", "state", "next")),
    Column("attempts", Integer, nullable=False),
    Column("result", Text),
    Index("actions_by_state", "state", "next"),
)  # fmt: skip
"""Actions of the operator that the turn with this number asks for. `arguments` and `result` are JSON."""

canned = Table(
    "canned", metadata,
    *(Column(name, Text, primary_key=True) for name in ("customer", "name")),
    *(Column(name, Text, nullable=False) for name in ("texts", "changed", "actor")),
)  # fmt: skip
"""Replies that agents have at hand. `texts` is JSON: a text by language."""

entries = Table(
    "entries", metadata,
    Column("id", String(32), primary_key=True),
    Column("version", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("app", "customer", "language", "at", "actor")),
    *(Column(name, Text) for name in ("question", "answer", "replaces")),
    Column("fingerprint", LargeBinary),
    Index("entries_by_app", "app", "customer"),
    Index("entries_by_fingerprint", "fingerprint"),
)  # fmt: skip
"""Entries of FAQs that people add to products in use. A version is only added; one without question and answer withdraws the entry.
`replaces` is the id of an entry of the pack, and `fingerprint` a keyed hash of the message from which the question comes."""
