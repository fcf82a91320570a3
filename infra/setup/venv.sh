#!/bin/sh
# Makes .venv from the locked requirements, once per lock: the only thing this project needs before
# its own Python can run, so it leans on nothing but a shell and a Python of 3.11 or newer.
# PYTHON=... names the interpreter to use.
set -eu
cd "$(dirname "$0")/../.."

stamp_file=.venv/millrace-setup

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || { echo "PYTHON=$PYTHON is no Python of 3.11 or newer that runs here." >&2; exit 1; }
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3; do
        # A version manager's shim may exist for a version that is not there: only running it tells.
        if is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo "Millrace needs Python 3.11 or newer with venv; tried python3.13, python3.12, python3.11, python3." >&2
    echo "Install it (Debian 12, Ubuntu 24.04 or newer: apt-get install python3 python3-venv), or name one: make setup PYTHON=/path/to/python3" >&2
    exit 1
}

ensure_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "$package"
    else
        echo "Python's venv module is missing. Install it and run this again: apt-get install $package" >&2
        exit 1
    fi
}

make_venv() {
    if .venv/bin/python -c 'import pip' 2>/dev/null && is_new_enough .venv/bin/python; then
        return
    fi
    python=$(find_python)
    ensure_venv_module "$python"
    "$python" -m venv --clear .venv
}

# The checkout is put on the path of the environment as it is: nothing is built, nothing copied.
# The launcher is a shell script because a shebang cannot hold a path with a space in it.
link_project() {
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$PWD" >"$site/millrace-checkout.pth"
    cat >.venv/bin/millrace <<EOF
#!/bin/sh
exec "$PWD/.venv/bin/python" -P -m millrace "\$@"
EOF
    chmod +x .venv/bin/millrace
}

wanted=$(printf '%s ' "$PWD" && cat requirements.txt requirements-dev.txt infra/setup/venv.sh | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp_file" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "Setting up .venv from requirements.txt and requirements-dev.txt ..."
make_venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes -r requirements.txt -r requirements-dev.txt
link_project
printf '%s\n' "$wanted" >"$stamp_file"
