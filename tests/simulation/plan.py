"""What a seed decides before anything happens: the work, and the accidents."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sandboxes.fake_script import AnyStep, Break, Die, End, Recall, Remember, Wait, Write, script
from schemas.commands import RunCode
from schemas.ids import ExecutionId, SessionId, TenantId

FLOODED = 0.3
"""How many worlds see much work at once."""
HORIZON_S = 120.0
"""All work is published and all accidents happen within this; then the world is left in peace."""


@dataclass(frozen=True)
class Job:
    """One execution as its publisher wants it, and what its code would write if left alone."""

    command: RunCode
    at_s: float
    bare: bool
    """Published straight onto the stream, not by `submit`."""
    copies: int
    """How often the same request is published."""
    says: bytes
    cancels_at_s: tuple[float, ...]
    """When it is cancelled, which may be before it is published, and twice."""

    @property
    def session(self) -> tuple[TenantId, SessionId] | None:
        """Return the session it belongs to, as its owner knows it."""
        session_id = self.command.session_id
        return None if session_id is None else (self.command.tenant, session_id)


@dataclass(frozen=True)
class Accident:
    """Something that befalls one handler."""

    kind: Literal["kill", "pause"]
    handler: int
    at_s: float
    for_s: float
    """How long until it is replaced, or goes on."""


@dataclass(frozen=True)
class Plan:
    """Everything that is random in one run, but the delays."""

    seed: int
    handlers: int
    slots: int
    jobs: list[Job]
    accidents: list[Accident]
    skews_s: list[float]
    """By how much each handler's own clock is wrong."""
    dice: random.Random = field(repr=False)
    """For delays while it runs."""
    step: str = ""
    """At which every process dies that comes there, if it is not to be drawn."""


def draw(seed: int, epoch: datetime, step: str = "") -> Plan:
    """Draw the plan that belongs to `seed`, with all processes dying at `step` if one is given."""
    dice = random.Random(seed)
    handlers = dice.randint(1, 3)
    jobs = [_job(dice, number, epoch) for number in range(dice.randint(1, 8))]
    if dice.random() < FLOODED:
        jobs += _flood(dice, len(jobs))
    return Plan(
        seed=seed,
        handlers=handlers,
        slots=dice.randint(1, 3),
        jobs=jobs,
        accidents=sorted(
            (_accident(dice, handlers) for _ in range(dice.randint(0, 6))), key=lambda accident: accident.at_s
        ),
        skews_s=[dice.uniform(-30, 30) for _ in range(handlers)],
        dice=dice,
        step=step,
    )


def _job(dice: random.Random, number: int, epoch: datetime) -> Job:
    at_s = dice.uniform(0, HORIZON_S / 2)
    session = _session(dice)
    steps, says = _program(dice)
    if session is not None:  # say whose variables are there, and leave ours
        steps = [Recall("by"), Write("\n"), Remember("by", f"job-{number}"), *steps]
    deadline = epoch + timedelta(seconds=at_s + dice.uniform(0, 60)) if dice.random() < 0.2 else None
    command = RunCode(
        id=f"job-{number}",
        language="py",
        code=script(*steps),
        stdin="",
        session_id=session,
        retry=dice.choice(["never", "if_not_started", "always"]),
        deadline=deadline,
        tenant=TenantId("one" if session else dice.choice(["one", "two", "three"])),
        priority="batch" if dice.random() < 0.3 else "interactive",
        reply_to="replies" if dice.random() < 0.3 else None,
    )
    return Job(
        command=command,
        at_s=at_s,
        bare=dice.random() < 0.4,
        copies=1 if dice.random() < 0.7 else dice.randint(2, 3),
        says=says,
        cancels_at_s=tuple(
            max(0.0, at_s + dice.uniform(-5, 40)) for _ in range(dice.choice([0, 0, 0, 0, 0, 0, 1, 2]))
        ),
    )


def _session(dice: random.Random) -> SessionId | None:
    """Draw a session that some others are in too."""
    return SessionId(dice.choice(["session-1", "session-2"])) if dice.random() < 0.4 else None


def _flood(dice: random.Random, first: int) -> list[Job]:
    """Draw more short work of one or two tenants than there are slots, all of it at nearly the same time."""
    at_s = dice.uniform(0, HORIZON_S / 2)
    tenants = dice.sample(["one", "two", "three"], dice.randint(1, 2))
    return [
        Job(
            command=RunCode(
                id=ExecutionId(f"job-{number}"),
                language="py",
                code=script(Wait(dice.choice([0.001, 0.5])), End(0)),
                stdin="",
                tenant=TenantId(dice.choice(tenants)),
                priority="batch" if dice.random() < 0.3 else "interactive",
            ),
            at_s=at_s + dice.choice([0.0, 0.01, 1.0]),
            bare=dice.random() < 0.5,
            copies=1,
            says=b"",
            cancels_at_s=(),
        )
        for number in range(first, first + dice.randint(4, 24))
    ]


def _program(dice: random.Random) -> tuple[list[AnyStep], bytes]:
    steps: list[AnyStep] = []
    says = b""
    for line in range(dice.randint(0, 6)):
        text = f"line {line} é\n"
        steps.append(Write(text))
        says += text.encode()
        if dice.random() < 0.6:
            steps.append(Wait(dice.choice([0.001, 0.5, 5.0, 25.0])))
    ending = dice.random()
    if ending < 0.1:
        steps.append(Break())
    elif ending < 0.2:
        steps.append(Die())
    else:
        steps.append(End(dice.choice([0, 0, 1])))
    return steps, says


def _accident(dice: random.Random, handlers: int) -> Accident:
    return Accident(
        kind=dice.choice(["kill", "pause"]),
        handler=dice.randrange(handlers),
        at_s=dice.uniform(0, HORIZON_S),
        for_s=dice.choice([0.05, 1.0, 10.0, 20.0, 45.0]),
    )
