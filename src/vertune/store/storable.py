"""The texts that both databases can store; knows nothing of tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Storable = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""A text without the character 0, which PostgreSQL neither stores nor compares."""
