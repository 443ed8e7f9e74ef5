"""Finds the resources (groups of endpoints) of the server, in `server/resources/` and in other packages; independent of any single one."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from vertune.core.errors import ConfigError
from vertune.server import resources
from vertune.server.resource import DirectRoute, Resource, ScopedRoute

ENTRY_POINTS = "vertune.resources"


def find_routes() -> list[ScopedRoute]:
    """Return the routes of all resources (groups of endpoints), with DirectRoutes first.

    Raises ConfigError for a module without a Resource called `resource`, or for a route without a required permission (scope).
    """
    targets = {module.name: f"{resources.__name__}.{module.name}" for module in pkgutil.iter_modules(resources.__path__)}
    for entry in entry_points(group=ENTRY_POINTS):
        targets.setdefault(entry.name, entry.value)
    routes: list[ScopedRoute] = []
    for _, target in sorted(targets.items()):
        resource = getattr(import_module(target), "resource", None)
        if not isinstance(resource, Resource):
            raise ConfigError(f"The module {target} has no `resource` of the type Resource. Add one: resource = Resource('TAG')")
        unscoped = [route for route in resource.routes if not isinstance(route, ScopedRoute)]
        if unscoped:
            raise ConfigError(
                f"The route {unscoped[0]!r} of {target} declares no scope (required permission). Add it by a method such as `resource.get`."
            )
        routes += resource.routes
    # the router takes the first route that matches, and the direct route of a single vertical is called most often
    return sorted(routes, key=lambda route: (not isinstance(route, DirectRoute), "{vertical}" not in route.path))
