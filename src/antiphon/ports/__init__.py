"""What the rules need of the world. Real adapters live in `engines/` and `stores/`; the tests' fakes stand beside them.

Each port has one contract suite under `tests/contract/`, which every adapter passes.
"""

from antiphon.ports.caching import CacheStore
from antiphon.ports.clock import Clock
from antiphon.ports.completions import CompletionStore
from antiphon.ports.conversations import ConversationStore
from antiphon.ports.engine import Capabilities, Constraining, Engine, Queueing, Route
from antiphon.ports.idempotency import KeyStore
from antiphon.ports.jobs import JobStore, WorkerStore
from antiphon.ports.money import BudgetStore, LedgerStore
from antiphon.ports.organisation import AuditStore, OrganisationStore
from antiphon.ports.prompts import PromptStore
from antiphon.ports.rates import RateCounters
from antiphon.ports.responses import ResponseStore
from antiphon.ports.sessions import SessionStore
from antiphon.ports.shutdowns import UseStore
from antiphon.ports.store import Store
from antiphon.ports.tenants import AccessStore, TenantStore

__all__ = [
    "AccessStore",
    "AuditStore",
    "BudgetStore",
    "CacheStore",
    "Capabilities",
    "Clock",
    "CompletionStore",
    "Constraining",
    "ConversationStore",
    "Engine",
    "JobStore",
    "KeyStore",
    "LedgerStore",
    "OrganisationStore",
    "PromptStore",
    "Queueing",
    "RateCounters",
    "ResponseStore",
    "Route",
    "SessionStore",
    "Store",
    "TenantStore",
    "UseStore",
    "WorkerStore",
]
