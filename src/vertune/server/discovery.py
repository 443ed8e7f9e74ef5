"""Finds the resources (groups of endpoints) of the server, in vertune and in other packages; independent of any single resource."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from vertune.core.errors import ConfigError
from vertune.server import resources
from vertune.server.resource import DirectRoute, Resource, ScopedRoute

ENTRY_POINTS = "vertune.resources"


def find_routes() -> list[ScopedRoute]:
    """Import the modules of all resources (groups of endpoints) and return their routes.

    Routes that are called most often come first, because routes are tried in this order for each request. Raises ConfigError for a
    module without a variable `resource` of the type Resource, or for a route that does not declare which permission it requires.
    """
    targets = {module.name: f"{resources.__name__}.{module.name}" for module in pkgutil.iter_modules(resources.__path__)}
    for entry in entry_points(group=ENTRY_POINTS):
        targets.setdefault(entry.name, entry.value)
    routes: list[ScopedRoute] = []
    for _, target in sorted(targets.items()):
        resource = getattr(import_module(target), "resource", None)
        if not isinstance(resource, Resource):
            raise ConfigError(f"The module {target} has no `resource` variable of the type Resource. Add it: resource = Resource('TAG')")
        unscoped = [route for route in resource.routes if not isinstance(route, ScopedRoute)]
        if unscoped:
            raise ConfigError(
                f"The route {unscoped[0]!r} of {target} declares no scope (the permission that it requires). Add the route with a method "
                "such as `resource.get`, whose argument `scope` declares it."
            )
        routes += resource.routes
    # the router takes the first route that matches, and the direct route of a single vertical is called most often
    return sorted(routes, key=lambda route: (not isinstance(route, DirectRoute), "{vertical}" not in route.path))
