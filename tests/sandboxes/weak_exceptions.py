"""What tier D does not promise: tests that bind every other tier, each with the reason. The only list."""

import pytest

_NO_PROC = "programs have no /proc"
_OWN_PATHS = "without a mount namespace the folders lie elsewhere, on the host's disk without a size"
_SEEN = (
    "what lies on the host is unreadable, but can be seen to be there, and host name and users are its own"
)

NOT_PROMISED = {
    "test_secrets_of_the_host_are_not_there": _SEEN,
    "test_a_setuid_program_gives_nothing": "the user id is the host's, not 1000",
    "test_a_program_has_no_powers_and_only_its_own_descriptors": _NO_PROC,
    "test_only_the_programs_own_processes_can_be_seen": _NO_PROC,
    "test_files_count_as_memory": _OWN_PATHS,
    "test_shared_memory_without_a_file_counts_as_memory": "ipc objects are refused altogether",
    "test_raising_ones_own_chance_to_survive_does_not_help": _NO_PROC,
    "test_the_sandbox_has_a_loopback_of_its_own": "without a network namespace there are no sockets at all",
    "test_shared_memory_of_one_is_not_seen_by_another": "ipc objects are refused altogether",
    "test_one_execution_leaves_nothing_for_the_next": _OWN_PATHS,
    "test_no_disk_holds_more_than_its_size": _OWN_PATHS,
    "test_killing_all_that_can_be_killed_ends_oneself_only": "a program can end its own process 1",
    "test_stopping_everybody_else_stops_nothing": "a program can end its own process 1, and so its execution",
}


def excuse(items: list[pytest.Item]) -> None:
    """Skip in tier D what it does not promise."""
    for item in items:
        name = getattr(item, "originalname", item.name)
        if "[tier-D" in item.name and name in NOT_PROMISED:
            item.add_marker(pytest.mark.skip(reason=f"tier D: {NOT_PROMISED[name]}"))
