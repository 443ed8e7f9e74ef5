"""Finds the resources of the server: the files of their folder, and those of other packages; knows no single resource."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from vertune.core.errors import ConfigError
from vertune.server import resources
from vertune.server.resource import DirectRoute, Resource, ScopedRoute

ENTRY_POINTS = "vertune.resources"


def find_routes() -> list[ScopedRoute]:
    """The routes of all resources, direct ones first; ConfigError for a module without a resource, or a route without a scope."""
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
            raise ConfigError(f"The route {unscoped[0]!r} of {target} declares no scope. Add it by a method of the resource.")
        routes += resource.routes
    # the first that matches is taken, and a direct route of a single vertical is called most often
    return sorted(routes, key=lambda route: (not isinstance(route, DirectRoute), "{vertical}" not in route.path))
