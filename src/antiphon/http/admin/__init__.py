"""The administration: /v1/organization, one module for each resource."""

from __future__ import annotations

from antiphon.http.admin import admin_keys, audit_logs, invites, keys, members, projects, service_accounts, users
from antiphon.http.resource import Resource
from antiphon.ports import Clock, Store
from antiphon.run.organisation.admin_keys import AdminKeys
from antiphon.run.organisation.invites import Invites
from antiphon.run.organisation.keys import Keys
from antiphon.run.organisation.members import Members
from antiphon.run.organisation.projects import Projects
from antiphon.run.organisation.service_accounts import ServiceAccounts
from antiphon.run.organisation.users import Users


def resources(store: Store, clock: Clock, secret: bytes) -> list[Resource]:
    """The paths of the organisation's core. `secret`: the server's, which keys are kept under."""
    known = Projects(store, clock)
    return [
        *admin_keys.resources(AdminKeys(store, clock, secret)),
        *users.resources(Users(store, clock)),
        *invites.resources(Invites(store, clock)),
        *projects.resources(known),
        *members.resources(Members(store, clock, known)),
        *service_accounts.resources(ServiceAccounts(store, clock, secret, known)),
        *keys.resources(Keys(store, clock, known)),
        *audit_logs.resources(store),
    ]
