"""The base class of masks, which find one kind of personal data or secrets in texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from vertune.core.part import Part


class Mask(Part):
    """A component that finds one kind of personal data or secrets in texts, so that a placeholder such as `<PHONE_1>` can replace it."""

    folder: ClassVar[str] = "masks"
    label: ClassVar[str]
    """What the placeholder is called, in capital letters."""
    precedence: ClassVar[int | None] = None
    """Masks that have one are used where a user names none. Of equally long places, that of the mask with the lower number counts."""
    digits: ClassVar[bool] = False
    """Whether all that it finds contains a digit, so that texts without one are skipped."""
    hints: ClassVar[tuple[str, ...]] = ()
    """Pieces in lower case; texts that contain none of them are skipped. Most texts contain nothing to mask. Empty skips no text."""

    @property
    def shown(self) -> str:
        """What the placeholder is called; it is `label` unless an option changes it."""
        return self.label

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and end (exclusive) of each place to mask.

        The text is in the form that `vertune.masking.plain` returns: digits, letters and punctuation of full width are those of ASCII.
        Places may overlap those of other masks.
        """
        raise NotImplementedError

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts, each with the part of it that must be masked, for tests and documentation."""
        raise NotImplementedError
