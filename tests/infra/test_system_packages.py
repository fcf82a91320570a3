"""Installing what is missing, against an apt-get and dpkg-query that the test makes up."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import system_packages
from infra.built_folder import built_folder, built_once
from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.system_packages import install, install_command, not_installed, services_kept_from_starting


class Apt:
    """A machine's package tools: what is installed is a file, what was called is another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = folder / "policy-rc.d"
        (folder / "installed").write_text("here\n")
        self._script("dpkg-query", f'for p; do grep -qx "$p" {folder}/installed && echo "$p installed"; done')
        self._script(
            "apt-get",
            f'echo "$@ policy:$({self.policy} 2>&1; echo $?)" >>{folder}/calls\n'
            f'case "$*" in *" update") touch {folder}/lists; exit 0;; esac\n'
            f"[ -e {folder}/lists ] || exit 100\n"
            f'for p; do case $p in -*) ;; broken) exit 100;; *) echo "$p" >>{folder}/installed;; esac; done',
        )

    def _script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The command lines of apt-get, each with what the policy answered."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """The made-up tools, first on PATH, and we are root."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Apt(tmp_path)


def test_nothing_is_called_when_nothing_is_missing(apt: Apt) -> None:
    """Set-up is repeated often and must be quick then."""
    install(["here"], policy=apt.policy)
    assert apt.calls == []


def test_only_what_is_missing_is_installed_after_lists_are_fetched(apt: Apt) -> None:
    """A fresh image has no package lists; the first failure fetches them."""
    install(["here", "wanted"], policy=apt.policy)
    assert [call.split(" policy")[0].split("300 ")[1] for call in apt.calls] == [
        "install --no-install-recommends wanted",
        "update",
        "install --no-install-recommends wanted",
    ]
    assert not_installed(["here", "wanted", "other"]) == ["other"]


def test_service_starts_are_forbidden_meanwhile_and_only_then(apt: Apt) -> None:
    """A package that brings a server does not start it."""
    install(["wanted"], policy=apt.policy)
    assert all(call.endswith("policy:101") for call in apt.calls)
    assert not apt.policy.exists()


def test_the_machines_own_policy_is_put_back(apt: Apt) -> None:
    """Also when the installation fails."""
    apt.policy.write_text("#!/bin/sh\nexit 0\n")
    apt.policy.chmod(0o750)
    with pytest.raises(Misconfigured, match=r"try by hand: apt-get install .* broken"):
        install(["broken"], policy=apt.policy)
    assert apt.policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert apt.policy.stat().st_mode & 0o777 == 0o750


def test_a_run_that_was_killed_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    """Neither our own policy nor the machine's is lost or kept by mistake."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("the machine's own")
    for _ in range(2):
        killed = services_kept_from_starting(policy)
        killed.__enter__()
    with services_kept_from_starting(policy):
        pass
    assert policy.read_text() == "the machine's own"
    assert [path.name for path in tmp_path.iterdir()] == ["policy-rc.d"]


def test_our_own_policy_is_not_taken_for_the_machines(tmp_path: Path) -> None:
    """Killed where there was none before: it goes in the end."""
    policy = tmp_path / "policy-rc.d"
    services_kept_from_starting(policy).__enter__()
    with services_kept_from_starting(policy):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_ordinary_user_is_told_what_to_type(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is attempted that cannot work."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Misconfigured, match=r"sudo apt-get install --no-install-recommends -y wanted$"):
        install(["here", "wanted"], policy=apt.policy)
    assert apt.calls == []


def test_other_systems_get_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apt-get there is no command to offer."""
    monkeypatch.setattr(system_packages.shutil, "which", lambda _: None)
    assert install_command(["gcc", "jq"]).endswith("what Debian calls: gcc jq")
    assert install_command([]) == ""


def test_a_folder_that_failed_to_build_is_not_there(tmp_path: Path) -> None:
    """Nor is anything beside it."""
    with pytest.raises(ValueError, match="broke"), built_folder(tmp_path / "made") as folder:
        (folder / "half").write_text("x")
        raise ValueError("broke")
    assert list(tmp_path.iterdir()) == []


def test_of_two_builders_the_first_wins(tmp_path: Path) -> None:
    """A finished folder never changes under its users."""
    with built_folder(tmp_path / "made") as late:
        (late / "who").write_text("late")
        with built_folder(tmp_path / "made") as early:
            (early / "who").write_text("early")
    assert (tmp_path / "made" / "who").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_what_takes_long_is_built_once(tmp_path: Path) -> None:
    """However many want it at the same time; and nothing is left beside it."""
    built: list[Path] = []
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: built_once(tmp_path / "made", built.append), range(8)))
    assert (set(found), len(built)) == ({tmp_path / "made"}, 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def test_beside_what_was_built_nothing_looks_like_another_build(tmp_path: Path) -> None:
    """Images link what `guest-*` finds, and the installer removes whatever else it finds by that."""
    made = built_once(tmp_path / "guest-1", lambda folder: None)
    assert list(tmp_path.glob("guest-*")) == [made]


def test_links_out_of_a_built_folder_keep_their_targets_mode(tmp_path: Path) -> None:
    """A virtual environment links to an interpreter that is not ours to change."""
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    with built_folder(tmp_path / "caches" / "made") as folder:
        (folder / "link").symlink_to(outside)
    assert outside.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("environ", "uid", "folder"),
    [
        ({"MILLRACE_CACHE": "/srv/c", "XDG_CACHE_HOME": "/x"}, 0, "/srv/c"),
        ({}, 0, "/var/cache/millrace"),
        ({"XDG_CACHE_HOME": "/x"}, 1000, "/x/millrace"),
    ],
)
def test_caches_are_kept_where_sandboxes_can_read(environ: dict[str, str], uid: int, folder: str) -> None:
    """Root's home is closed to others, so root's caches are not in it."""
    assert cache_folder(environ, uid) == Path(folder)
