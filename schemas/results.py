"""The line on the results stream: every `finished`, for whoever cares."""

from schemas.events import Finished
from schemas.ids import TenantId


class Result(Finished, frozen=True, kw_only=True, tag="finished"):
    """A `finished` with the tenant it belongs to. At least once; `execution_id` is the key."""

    tenant: TenantId
