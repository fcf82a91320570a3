"""Reading an entry of the requests stream: a command that may run, or the reason it never will."""

from dataclasses import dataclass

import msgspec

from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.ids import ExecutionId, TenantId, is_execution_id
from schemas.validate import Bounds, find_violation
from schemas.wire import WireFault, decode_run_code, find_id
from streams.protocol import Delivery
from streams.turns import id_of_entry


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that keeps all rules. Its `id` is set."""

    command: RunCode
    digest: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that breaks a rule: `command` carries as much of it as is needed to answer."""

    command: RunCode
    digest: str
    reason: str
    unreadable: bool


@dataclass(frozen=True, slots=True)
class Nameless:
    """A request that cannot even be answered: no usable id can be found in it."""

    reason: str
    id: str | None


Admission = Admitted | Refused | Nameless


def admit(delivery: Delivery, bounds: Bounds) -> Admission:
    """Decide whether the entry's body may run. Never raises for what is in the body."""
    try:
        command = decode_run_code(delivery.body)
    except WireFault as fault:
        return _unreadable(delivery, f"{fault.field}: {fault.message}" if fault.field else fault.message)
    if command.id is None:
        command = msgspec.structs.replace(command, id=id_of_entry(delivery.entry))
    violation = find_violation(command, bounds)
    if violation is None:
        return Admitted(command, digest_of(command))
    reason = f"{violation.field}: {violation.message}"
    if not is_execution_id(command.id or ""):
        return Nameless(reason, command.id)
    if not is_execution_id(command.tenant):
        command = msgspec.structs.replace(command, tenant=TenantId("default"))
    return Refused(command, digest_of(command), reason, unreadable=False)


def _unreadable(delivery: Delivery, reason: str) -> Refused | Nameless:
    found = find_id(delivery.body)
    if found is None or not is_execution_id(found):
        return Nameless(reason, found)
    stand_in = RunCode(language="", code="", id=ExecutionId(found))
    return Refused(stand_in, digest_of(stand_in), reason, unreadable=True)
