"""Every size, count, depth and wait that Antiphon allows, each with its reason. Nothing here is unlimited.

Sizes are bytes, waits are seconds. They stand in a file for each subject, and are read as `limits.NAME`.
"""

from antiphon.domain.limits.access import *
from antiphon.domain.limits.accounts import *
from antiphon.domain.limits.generations import *
from antiphon.domain.limits.jobs import *
from antiphon.domain.limits.requests import *
from antiphon.domain.limits.responses import *
from antiphon.domain.limits.sizes import *
from antiphon.domain.limits.store import *
from antiphon.domain.limits.uploads import *
from antiphon.domain.limits.upstreams import *
