"""Renders HTML reports and model cards as self-contained files that open without a network.

`templates/base.html` is the layout of every HTML page. `templates/charts.html` contains macros that draw charts from
lists and mappings, as inline SVG. A page contains no script, and uses light or dark colours as set in the browser.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from vertune.reports import scales

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    """Return the Jinja environment in which the templates are rendered, with the filters and functions of the module `scales`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(scales.FILTERS)
    environment.globals.update(scales.FUNCTIONS)
    return environment


def render(template: str, **values: Any) -> str:
    """Render a template, such as `evaluate.html` or `card.md`, with these values, and return the text.

    In HTML templates, the values are escaped. Raises jinja2.UndefinedError if the template uses a value that is
    missing.
    """
    return _environment().get_template(template).render(**values)
