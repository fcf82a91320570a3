"""Whatever stands in an entry is run, refused by name, or buried: never an accident."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.admission import Admitted, Nameless, Refused, admit
from schemas.validate import Bounds

BOUNDS = Bounds()


def test_a_good_request_is_admitted_under_its_own_id(delivery_of):
    """Language and code are enough."""
    admitted = admit(delivery_of(b'{"language":"py","code":"1","id":"job-1"}'), BOUNDS)
    assert isinstance(admitted, Admitted)
    assert admitted.command.id == "job-1"


def test_a_request_without_an_id_is_named_after_its_entry_on_every_redelivery(delivery_of):
    """So that the second handler finds the first one's execution."""
    body = b'{"language":"py","code":"1"}'
    first, again = (admit(delivery_of(body, entry="17-3"), BOUNDS) for _ in range(2))
    assert first == again
    assert first.command.id == "entry-17-3"


def test_a_request_that_breaks_a_rule_is_refused_with_the_field(delivery_of):
    """It can be read and answered, so it gets an outcome of its own."""
    refused = admit(delivery_of(b'{"language":"cobol","code":"1","id":"job-1"}'), BOUNDS)
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("language: ")
    assert not refused.unreadable


def test_a_request_that_cannot_be_read_but_has_an_id_is_refused_under_it(delivery_of):
    """Whoever waits for that id hears why."""
    refused = admit(delivery_of(b'{"language":1,"code":"1","id":"job-1"}'), BOUNDS)
    assert isinstance(refused, Refused)
    assert (refused.command.id, refused.unreadable) == ("job-1", True)
    assert "language" in refused.reason


def test_what_has_no_usable_id_is_nameless(delivery_of):
    """No log can be written for it."""
    for body in (b"{", b"[]", b'{"id":7}', b'{"id":"no spaces","language":"py","code":"1"}', b"\xff"):
        assert isinstance(admit(delivery_of(body), BOUNDS), Nameless), body


def test_a_tenant_that_cannot_be_one_does_not_reach_the_answer(delivery_of):
    """The rejected result goes to the default tenant."""
    refused = admit(delivery_of(b'{"language":"py","code":"1","id":"a","tenant":"../x"}'), BOUNDS)
    assert isinstance(refused, Refused)
    assert refused.command.tenant == "default"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=100), st.text(max_size=100).map(str.encode)))
def test_no_body_makes_admission_raise(delivery_of, body):
    """Random bytes are somebody's request too."""
    admit(delivery_of(body), BOUNDS)
