"""Chinese surnames, and words that look like names and are none, from `names.yaml`; knows nothing of how names are found."""

from __future__ import annotations

from pathlib import Path

from vertune.core.bounded_yaml import read_yaml

_LISTS = {name: text.split() for name, text in read_yaml(Path(__file__).with_name("names.yaml")).items()}
SURNAMES = frozenset("".join(_LISTS["surnames"]))
DOUBLE_SURNAMES = frozenset(_LISTS["double_surnames"])
RARELY_ALONE = frozenset("".join(_LISTS["rarely_alone"]))
"""Surnames that alone before a title are words far more often."""
NOT_NAMES = frozenset(_LISTS["not_names"])
"""Words that begin with a surname."""
ENDS_LIKE_A_NAME = frozenset(_LISTS["ends"])
"""Words that end with a surname, and begin with a character after which a name may stand."""
THINGS = frozenset(_LISTS["things"])
"""What has a name and is no person, before `name:`, in lower case."""
NO_ENGLISH_NAMES = frozenset(_LISTS["english"])
"""What stands after a title or a phrase and is no name, in lower case."""
