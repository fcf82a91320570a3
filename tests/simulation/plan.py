"""What a seed decides before anything happens: the work, and the accidents."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sandboxes.fake_script import AnyStep, Break, Die, End, Recall, Remember, Wait, Write, script
from schemas.commands import Retry, RunCode
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
class Aim:
    """What befalls every process that comes to one step, and what makes many come there."""

    step: str
    kind: Literal["kill", "pause"] = "kill"

    @property
    def in_sessions(self) -> float:
        """How many jobs are of a session: who waits for a turn, and who has variables."""
        return 1.0 if self.step.startswith(("park", "wake", "state", "finish: line")) else 0.4

    @property
    def replied(self) -> float:
        """How many want a reply."""
        return 1.0 if self.step == "finish: replied" else 0.3

    @property
    def cancels(self) -> list[int]:
        """How often a job is cancelled; one of these."""
        return [1, 2] if self.step.startswith("send") else [0, 0, 0, 0, 0, 0, 1, 2]

    @property
    def retries(self) -> list[Retry]:
        """What may be done when an attempt was lost; one of these."""
        again = self.step.startswith(("bury", "state: claimed"))
        return ["always"] if again else ["never", "if_not_started", "always"]

    @property
    def accidents_max(self) -> int:
        """How much befalls the handlers beside that: attempts are used up where it is much."""
        return 24 if self.step.startswith(("bury", "state: claimed")) else 6


AT_RANDOM = Aim("")


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
    aim: Aim
    dice: random.Random = field(repr=False)
    """For delays while it runs."""


def draw(seed: int, epoch: datetime, aim: Aim) -> Plan:
    """Draw the plan that belongs to `seed` and `aim`."""
    dice = random.Random(seed)
    handlers = dice.randint(1, 3)
    jobs = [_job(dice, number, epoch, aim) for number in range(dice.randint(1, 8))]
    if dice.random() < FLOODED:
        jobs += _flood(dice, len(jobs))
    return Plan(
        seed=seed,
        handlers=handlers,
        slots=dice.randint(1, 3),
        jobs=jobs,
        accidents=sorted(
            (_accident(dice, handlers) for _ in range(dice.randint(0, aim.accidents_max))),
            key=lambda accident: accident.at_s,
        ),
        skews_s=[dice.uniform(-30, 30) for _ in range(handlers)],
        dice=dice,
        aim=aim,
    )


def _job(dice: random.Random, number: int, epoch: datetime, aim: Aim) -> Job:
    at_s = dice.uniform(0, HORIZON_S / 2)
    session = _session(dice, aim.in_sessions)
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
        retry=dice.choice(aim.retries),
        deadline=deadline,
        tenant=TenantId("one" if session else dice.choice(["one", "two", "three"])),
        priority="batch" if dice.random() < 0.3 else "interactive",
        reply_to="replies" if dice.random() < aim.replied else None,
    )
    return Job(
        command=command,
        at_s=at_s,
        bare=dice.random() < 0.4,
        copies=1 if dice.random() < 0.7 else dice.randint(2, 3),
        says=says,
        cancels_at_s=tuple(max(0.0, at_s + dice.uniform(-5, 40)) for _ in range(dice.choice(aim.cancels))),
    )


def _session(dice: random.Random, often: float) -> SessionId | None:
    """Draw a session that some others are in too."""
    return SessionId(dice.choice(["session-1", "session-2"])) if dice.random() < often else None


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
