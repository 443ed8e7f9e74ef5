"""Checks the names of time zones that people write into files; knows nothing of the files."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def checked_zone(name: str) -> str:
    """Return the name of a time zone, such as Asia/Shanghai; raise ValueError if this machine knows none with this name."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError for the name of a folder of zones
        raise ValueError(f"there is no such time zone on this machine ({error}); `pip install tzdata` brings all") from error
    return name


ZoneName = Annotated[str, AfterValidator(checked_zone)]
"""The name of a time zone that exists."""
