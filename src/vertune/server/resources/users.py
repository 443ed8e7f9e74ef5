"""`/v1/users`: lists, creates, changes and deletes the people who sign in; does not depend on how they do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import AccessError
from vertune.server import problems
from vertune.server.feedback import Short
from vertune.server.people import Manager
from vertune.server.resource import Resource
from vertune.server.stored import actor_of, people_of
from vertune.store.user import LEAST_PASSWORD, MOST_PASSWORD, Role, User

resource = Resource("people")
Password = Annotated[str, Field(min_length=LEAST_PASSWORD, max_length=MOST_PASSWORD)]


class NewUser(BaseModel):
    """A person who is to sign in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ann", "role": "annotator", "password": "…"}]})

    name: Short
    """Letters, digits, `-`, `_` and `.`, or an e-mail address; upper case becomes lower case."""
    role: Role
    password: Password
    customer: Short | None = None
    """The organisation whose rows the user sees; null means that of the manager."""


class UserChange(BaseModel):
    """What is to be changed of a user; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "reviewer"}]})

    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class UserInfo(BaseModel):
    """A person who signs in."""

    name: str
    role: Role
    customer: str
    at: str
    """When the user was created, in UTC."""
    disabled: bool
    """Whether the user may not sign in."""
    openid: bool
    """Whether the user signs in by a provider of OpenID Connect, which then names the role."""


class UserList(BaseModel):
    """Some users, in the order of their names."""

    users: list[UserInfo]


@resource.get("/v1/users", scope="train")
def list_users(request: Request) -> UserList:
    """List the users of the manager's customer; for an administrator, those of all customers."""
    manager = _manager(request)
    return UserList(users=[_info(user) for user in people_of(request).all(manager.customer)])


@resource.post("/v1/users", scope="train", status_code=201, responses=problems.documented(409))
def create_user(body: NewUser, request: Request) -> UserInfo:
    """Create a user. A manager creates users of its own customer, and no administrators."""
    manager = _manager(request)
    return _info(people_of(request).create(body.name, body.role, body.customer, body.password, manager))


@resource.patch("/v1/users/{name}", scope="train", responses=problems.documented(404))
def change_user(name: str, body: UserChange, request: Request) -> UserInfo:
    """Change the role or the password of a user, or whether the user may sign in. All browsers of the user are signed out."""
    manager = _manager(request)
    return _info(people_of(request).change(name, manager, body.role, body.password, body.disabled))


@resource.delete("/v1/users/{name}", scope="train", status_code=204, responses=problems.documented(404))
def delete_user(name: str, request: Request) -> Response:
    """Delete a user, and sign out all browsers of the user. What the user labelled stays."""
    manager = _manager(request)
    people_of(request).remove(name, manager)
    return Response(status_code=204)


def _manager(request: Request) -> Manager:
    """Return who changes users; raise AccessError for whoever may not: a key needs the scope admin, and a user a role of its own."""
    access = request.app.state.access
    if access.administers(request):
        return Manager(actor_of(request))
    session = access.session(request)
    user = None if session is None else session.user
    if user is None or user.role != "manager":
        raise AccessError("Users are managed by a manager or an administrator. Ask one of them.")
    return Manager(actor_of(request), user.customer)


def _info(user: User) -> UserInfo:
    return UserInfo(
        name=user.name, role=user.role, customer=user.customer, at=user.at, disabled=user.disabled, openid=user.subject is not None,
    )  # fmt: skip
