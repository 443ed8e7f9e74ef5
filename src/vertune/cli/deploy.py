"""`vertune deploy`: makes a model live, at once or after a comparison with the live one."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 7)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the vertical.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model: its id, an alias, or a name.")],
    canary: Annotated[str, typer.Option("--canary", metavar="SHARE", help="Let it answer a share of the requests, such as 10%.")] = "",
    shadow: Annotated[bool, typer.Option("--shadow", help="Let it answer copies of requests, which nobody sees.")] = False,
    promote_after: Annotated[
        int | None, typer.Option("--promote-after", min=1, help="Make it live after so many answers.", show_default="never")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    another_task: options.AnotherTask = False,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Make a model live, at once or after a comparison.

    Running servers follow within two seconds. A candidate that fails more often, is slower, or is less often right than the live model is
    rolled back by the server.
    """
    from vertune.core.errors import ConfigError
    from vertune.steps.deploy import Plan, Versions
    from vertune.store.rollouts import Mode, Rules

    if canary and shadow:
        raise ConfigError("Both --canary and --shadow are set; expected at most one. Leave one of them out.")
    with options.opened(home, database) as (where, opened):
        versions = Versions(where, opened, "command line")
        if not canary and not shadow:
            target = versions.deploy(name, model, reason, another_task)
            output.note(f"{name}@live points to {target.id}.", style="")
            output.next_steps(f"vertune history {name}", f"vertune rollback {name}")
            return
        mode: Mode = "canary" if canary else "shadow"
        share = _share(canary) if canary else 1.0
        rollout = versions.begin(name, model, Plan(mode, share, Rules(promote_after=promote_after)), reason)
    output.note(f"{rollout.model} is compared with {rollout.live} as a {mode}.", style="")
    output.next_steps(f"vertune history {name}", f"vertune promote {name}", f"vertune rollback {name}")


def _share(text: str) -> float:
    """Parse a share such as 10% or 0.1; raise ConfigError for any other text."""
    from vertune.core.errors import ConfigError

    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ConfigError(f"The share of the canary is '{text}'; expected more than 0 % and at most 100 %. Write for example --canary 10%.")
    return share
