"""Settings are read from the environment and one `.env` file, and nothing wrong in them goes unsaid."""

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import Misconfigured
from infra.settings import BadSettings, Secret, SecretUrl, Settings, load_settings, validate_configuration
from infra.settings.catalogue import SETTINGS
from infra.settings.load import examine
from infra.settings.render import default_text

from .conftest import NO_FILE

PROMISED = (Path(__file__).parent / "promised_settings.txt").read_text("utf-8").splitlines()[1:]


@pytest.mark.parametrize("line", PROMISED)
def test_every_promised_name_is_there_with_its_default(line: str) -> None:
    """Operators of other services bring their configuration along; it must mean here what it meant there."""
    name, _, default = line.partition("=")
    assert default_text(SETTINGS[name]) == default


def test_every_setting_is_an_attribute_under_its_name_in_lower_case(read) -> None:
    """`API_PORT` is `settings.api_port`."""
    attributes = {field.name for field in dataclasses.fields(Settings)} - {"given"}
    assert {name.lower() for name in SETTINGS} == attributes
    assert read(API_PORT="81").api_port == 81


@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_that_cannot_be_meant_is_refused_or_kept_as_text(faults_of, name: str) -> None:
    """A control character is in no setting's range; where numbers are asked for, words are not numbers."""
    assert [fault.name for fault in faults_of(**{name: "a\x07b"})][:1] == [name]
    if SETTINGS[name].kind in {"integer", "number", "boolean", "choice", "object", "array"}:
        (fault, *_) = faults_of(**{name: "nonsense"})
        assert (fault.name, fault.value) == (name, "nonsense")
        assert SETTINGS[name].allowed() in str(fault)


@pytest.mark.parametrize("name", [s.name for s in SETTINGS.values() if s.kind in {"integer", "number"}])
def test_numbers_are_taken_at_their_bounds_and_refused_beyond(faults_of, name: str) -> None:
    """Every number has both bounds, and the fault names them."""
    low, high = SETTINGS[name].terms.at_least, SETTINGS[name].terms.at_most
    assert low is not None
    assert high is not None
    for good in (low, high):
        problems = [str(f) for f in faults_of(**{name: f"{good:.15g}"}) if "must be" in str(f)]
        assert not [problem for problem in problems if SETTINGS[name].allowed() in problem]
    for bad in (f"{low - 1:.15g}", f"{high + 1:.15g}", "nan", "inf", "1e1", "1_0", "9" * 4000, "٣"):
        (fault, *_) = faults_of(**{name: bad})
        assert fault.name == name
        assert len(fault.value) < 100


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", "YES", " 1 ", "on")),
        *((text, False) for text in ("false", "No", "0", "off")),
    ],
)
def test_booleans_are_written_in_four_ways(read, text: str, value: bool) -> None:
    """true, yes, on, 1 and their opposites, in any case."""
    assert read(API_DEBUG=text).api_debug is value


def test_lists_json_paths_and_choices_become_what_they_mean(read) -> None:
    """Values have types; nobody parses a text twice."""
    settings = read(
        CORS_ORIGINS="https://a.example, https://b.example,,",
        API_KEYS="one, two",
        GKE_SANDBOX_NODE_SELECTOR='{"sandbox": "gvisor"}',
        GKE_SANDBOX_CUSTOM_TOLERATIONS='[{"key": "sandbox"}]',
        SSL_CERTS_PATH="~/certs",
        LOG_LEVEL="debug",
        MILLRACE_LEASE_SECONDS="0.5",
    )
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.api_keys == (Secret("one"), Secret("two"))
    assert settings.gke_sandbox_node_selector == {"sandbox": "gvisor"}
    assert settings.gke_sandbox_custom_tolerations == [{"key": "sandbox"}]
    assert settings.ssl_certs_path == Path.home() / "certs"
    assert settings.log_level == "DEBUG"
    assert settings.millrace_lease_seconds == 0.5


@pytest.mark.parametrize("name", SETTINGS)
def test_an_empty_value_means_the_default(read, name: str) -> None:
    """Compose and charts pass empty values for what was not set."""
    settings = read(**{name: "  "})
    assert settings == read()
    assert name not in settings.given


def test_all_faults_are_told_at_once(faults_of) -> None:
    """An operator mends everything in one round."""
    names = {fault.name for fault in faults_of(
        API_PORT="0", MAX_PIDS="many", ENABLE_CORS="true", REDIS_MODE="cluster", API_PROT="1"
    )}  # fmt: skip
    assert names == {"API_PORT", "MAX_PIDS", "CORS_ORIGINS", "REDIS_CLUSTER_NODES", "API_PROT"}


def test_the_error_lists_every_fault_on_a_line_of_its_own() -> None:
    """`BadSettings` is a `Misconfigured`, so that every front door treats it as such."""
    with pytest.raises(Misconfigured) as caught:
        load_settings({**NO_FILE, "API_PORT": "x", "MAX_PIDS": "y"})
    assert isinstance(caught.value, BadSettings)
    assert len(str(caught.value).splitlines()) == 3
    assert str(caught.value).startswith("The configuration has 2 faults:")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("API_PROT", "API_PORT"),
        ("MAX_EXECUTION_TIEM", "MAX_EXECUTION_TIME"),
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("MILLRACE_SANDBOXES", "MILLRACE_SANDBOX"),
        ("log_level", "LOG_LEVEL"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest_known_one(faults_of, name: str, meant: str) -> None:
    """A setting that is silently ignored is worse than one that is refused."""
    (fault,) = faults_of(**{name: "1"})
    assert (fault.name, fault.nearest) == (name, meant)
    assert f"Did you mean {meant}?" in str(fault)


@pytest.mark.parametrize(
    "name",
    ["PATH", "REDIS_SERVICE_HOST", "REDIS_PORT_6379_TCP_ADDR", "SSL_CERT_DIR", "API_KEY_ID", "LOGNAME"],
)
def test_variables_of_others_are_left_alone(faults_of, name: str) -> None:
    """What Kubernetes, OpenSSL and the shell set is no misspelling of ours."""
    assert faults_of(**{name: "1"}) == []


def test_a_kubernetes_service_named_like_us_is_no_misspelling(faults_of) -> None:
    """Its links begin with MILLRACE_."""
    links = {
        "MILLRACE_EDGE_SERVICE_HOST": "10.0.0.1",
        "MILLRACE_EDGE_SERVICE_PORT_HTTP": "8000",
        "MILLRACE_EDGE_PORT": "tcp://10.0.0.1:8000",
        "MILLRACE_EDGE_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "MILLRACE_EDGE_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    assert faults_of(**links) == []
    assert faults_of(MILLRACE_EDGE_PORT="8000") != []


def test_every_unknown_name_of_our_own_is_a_fault(faults_of) -> None:
    """Nobody else begins names with MILLRACE_."""
    (fault,) = faults_of(MILLRACE_QQQQQQ="1")
    assert fault.name == "MILLRACE_QQQQQQ"


def test_a_port_set_by_kubernetes_for_a_service_says_so(faults_of) -> None:
    """REDIS_PORT=tcp://... appears in every pod beside a Service named redis."""
    (fault,) = faults_of(REDIS_PORT="tcp://10.0.0.1:6379")
    assert "enableServiceLinks" in str(fault)


class TestTheEnvFile:
    """`.env` in the working directory, or the file that MILLRACE_ENV_FILE names."""

    def test_it_is_read_below_the_environment(self, clean_environment: Path) -> None:
        """What the environment says, the file cannot change."""
        (clean_environment / ".env").write_text("API_PORT=81\nexport MAX_PIDS='7' # seven\nAPI_KEY=a$HOME\n")
        settings = load_settings({"API_PORT": "82"})
        assert (settings.api_port, settings.max_pids) == (82, 7)
        assert settings.api_key.reveal() == "a$HOME"

    def test_an_empty_variable_takes_back_what_the_file_says(self, clean_environment: Path) -> None:
        """Empty means unset, and the environment stands before the file."""
        (clean_environment / ".env").write_text("API_PORT=81\n")
        assert load_settings({"API_PORT": ""}).api_port == 8000

    def test_a_file_that_is_named_must_exist(self, tmp_path: Path) -> None:
        """The default `.env` may be missing, a named one may not."""
        (fault,) = examine({"MILLRACE_ENV_FILE": str(tmp_path / "gone")})[1]
        assert fault.name == "MILLRACE_ENV_FILE"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"API_PORT=81\nnonsense\n", "line 2"),
            (b"API_KEY='open\nMAX_PIDS=7\n", "NAME=value"),
            (b"API_PORT=\xff\xfe", "UTF-8"),
            (b"A=" + b"x" * (1 << 20), "larger than"),
            (b"API_PROT=81\n", "Did you mean API_PORT?"),
        ],
    )
    def test_what_is_wrong_with_it_is_told(self, tmp_path: Path, content: bytes, said: str) -> None:
        """Lines that are no settings, wrong encodings, files that are something else altogether."""
        path = tmp_path / "file.env"
        path.write_bytes(content)
        faults = examine({"MILLRACE_ENV_FILE": str(path)})[1]
        assert any(said in str(fault) for fault in faults)

    def test_a_folder_in_its_place_is_told(self, tmp_path: Path) -> None:
        """No stack trace for a mount that went wrong."""
        (fault,) = examine({"MILLRACE_ENV_FILE": str(tmp_path)})[1]
        assert "cannot be read" in str(fault)

    @given(content=st.binary(max_size=200))
    def test_no_content_makes_reading_crash(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        """Whatever lies there, the answer is settings or faults."""
        path = tmp_path_factory.getbasetemp() / "any.env"
        path.write_bytes(content)
        assert examine({"MILLRACE_ENV_FILE": str(path)})[0] is not None


GIVEN = {
    "API_KEY": "hush-api-key",
    "API_KEYS": "hush-one,hush-two",
    "MASTER_API_KEY": "hush-master",
    "REDIS_URL": "redis://name:hush-url@127.0.0.1/0",
    "REDIS_PASSWORD": "hush-password",
    "REDIS_SENTINEL_PASSWORD": "hush-sentinel",
    "MINIO_ACCESS_KEY": "hush-access",
    "MINIO_SECRET_KEY": "hush-secret",
}


class TestSecrets:
    """What must not print, does not, whichever way it is asked."""

    def test_settings_show_none_of_them(self, read) -> None:
        """repr, str and format of the whole and of each part."""
        settings = read(**GIVEN)
        shown = f"{settings!r} {settings} {settings.api_key} {settings.redis_url!r} {settings.api_keys}"
        assert "hush" not in shown
        assert "****" in shown

    def test_faults_show_none_of_them(self, faults_of) -> None:
        """Also where the very secret is what is wrong."""
        broken = {name: f"{value}\x01" for name, value in GIVEN.items()}
        faults = faults_of(**broken, REDIS_MODE="cluster", REDIS_CLUSTER_NODES="a:1")
        assert {fault.name for fault in faults} >= set(GIVEN)
        assert "hush" not in "".join(map(repr, faults))

    @pytest.mark.parametrize(
        "url",
        ["redis://hush@h/0", "redis://u:hush@h", "rediss://h/?password=hush", "redis://u:hu:sh-hush@h:1/1#hush",
         "redis://[hush", "http://u:hush@h"],
    )  # fmt: skip
    def test_a_url_shows_its_host_and_no_more(self, url: str, faults_of) -> None:
        """Wherever a URL can carry a password, and where it cannot be parsed."""
        assert "hush" not in str(SecretUrl(url))
        assert "hush" not in "".join(map(str, faults_of(REDIS_URL=url, REDIS_TLS_ENABLED="1")))

    def test_they_give_their_text_only_by_name(self, read) -> None:
        """`reveal` is easy to find in a review."""
        assert read(**GIVEN).api_key.reveal() == "hush-api-key"
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a"), Secret("ü")}) == 2

    def test_every_one_is_known_to_the_logs(self, read) -> None:
        """So that a library's log line cannot give one away; the public default key is no secret."""
        struck = read(**GIVEN).log_options()["secrets"]
        plain = {name: value for name, value in GIVEN.items() if name != "REDIS_URL"}
        assert {value for text in plain.values() for value in text.split(",")} < set(struck)
        assert "hush-url" in struck
        assert read().log_options()["secrets"] == ()

    @pytest.mark.parametrize(
        ("url", "hidden"),
        [
            ("redis://10.0.0.1:6379/0", []),
            ("unix:///run/redis.sock", []),
            ("redis://u:p%2Fw@h", ["u:p%2Fw@", "p%2Fw", "p/w"]),
            ("redis://token@h", ["token@", "token", "token"]),
            ("unix:///run/redis.sock?password=pw", ["password=pw"]),
            ("redis://[broken", ["redis://[broken"]),
        ],
    )
    def test_of_a_url_the_logs_strike_what_is_secret_only(self, url: str, hidden: list[str]) -> None:
        """Where a server was looked for is what a log is read for."""
        assert list(SecretUrl(url).hidden()) == hidden


def test_importing_never_fails_and_first_use_tells_everything(clean_environment: Path) -> None:
    """Also in a process whose configuration is broken; a secret in it does not print."""
    code = (
        "from infra.settings import settings, validate_configuration\n"
        "assert validate_configuration() is False\n"
        "print(repr(settings))\n"
        "try: settings.api_port\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root), "API_PORT": "x", "MAX_PIDS": "y"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not read yet" in done.stdout
    assert "BadSettings The configuration has 2 faults" in done.stdout
    assert "API_PORT" in done.stderr  # validate_configuration logged it


def test_validate_configuration_reads_afresh(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """True or False, and each fault in the log."""
    assert validate_configuration() is True
    monkeypatch.setenv("API_PORT", "70000")
    assert validate_configuration() is False
    assert "API_PORT='70000' must be a whole number from 1 to 65535" in caplog.text


def test_the_data_folder_follows_the_xdg_rules(read) -> None:
    """MILLRACE_DATA_DIR, then XDG_DATA_HOME, then the home folder."""
    assert read(XDG_DATA_HOME="/x").millrace_data_dir == Path("/x/millrace")
    assert read(XDG_DATA_HOME="relative").millrace_data_dir == Path.home() / ".local/share/millrace"
    assert read(XDG_DATA_HOME="/x", MILLRACE_DATA_DIR="/y").millrace_data_dir == Path("/y")


def test_settings_cannot_be_changed(read) -> None:
    """Read once means read once."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().api_port = 1


def test_settings_can_be_handed_to_another_process(read) -> None:
    """`serve` starts processes; what it hands them is what it read."""
    settings = read(API_PORT="81", API_KEY="k" * 20)
    assert pickle.loads(pickle.dumps(settings)) == settings
