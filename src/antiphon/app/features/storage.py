"""The database and the files: nothing is generated that could not be stored, and what has expired is deleted."""

from __future__ import annotations

from antiphon.app.blobs import BlobService, blob_store
from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.domain import limits
from antiphon.jobs.sweeps import Sweep
from antiphon.policy.observe.gauges import Gauge
from antiphon.policy.storage_check import StorageCheck
from antiphon.run.expiry import Expiry


def storage(core: Core) -> Feature:
    """A stage that refuses generations while the database takes no writes, and the store of files."""
    store = core.store
    return Feature(
        stages=[StorageCheck(store)],
        sweeps=[Sweep("expired", limits.SWEEP_TICK, Expiry(store, core.clock).sweep)],
        gauges=[Gauge("store_writes_waiting", "Writes that wait for the database.", lambda: store.writes_waiting)],
        services={"blobs": BlobService(blob_store(core.settings))},
    )
