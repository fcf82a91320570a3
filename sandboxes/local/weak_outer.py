"""Around process 1 where there are no namespaces: makes its walls, and sees to its certain end.

Runs as root under the guest's Python in place of bubblewrap, and imports nothing of ours. Its child becomes
a user whom nobody else is, shuts itself in with Landlock (Documentation/userspace-api/landlock.rst) and the
system-call filter, and turns into `init.py`. We stay root, out of reach of every signal, and adopt whatever
loses its parent; so when process 1 or the service is gone, we know when the last process is.
"""

# ruff: noqa: PTH102, PTH123, PTH208, S102, S302, S606, BLE001
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import _socket  # noqa: F401 - process 1 needs it, wherever it lies
import ctypes
import marshal
import os
import resource  # noqa: F401
import select  # noqa: F401
import signal
import stat
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
# landlock_access_fs
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
BITS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
BITS_NEWEST = 16
BIND_AND_CONNECT_TCP = ABSTRACT_SOCKETS_AND_SIGNALS = 3
O_PATH = 0o10000000
CAPABILITIES = 64

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def main(order, init):
    """Stand around one process 1 until it or the service is gone; then leave nothing."""
    uid, folder = order["uid"], order["folder"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    checked(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
    checked(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    try:
        if os.getppid() == order["parent"]:
            make_folders(uid, folder)
            stand_around(enter(order, init), order["control"])
    finally:
        kill_all_of(uid)
        os.spawnv(os.P_WAIT, "/bin/rm", ["rm", "-rf", "--one-file-system", "--", folder])


def make_folders(uid, folder):
    """Make the private places; above them nobody else may pass."""
    for name in ("data", "program", "tmp"):
        os.mkdir(folder + "/" + name, 0o700)
        os.chown(folder + "/" + name, uid, uid)
    os.chown(folder, uid, uid)


def stand_around(pid, control):
    """Wait until process 1 has ended or the service has."""
    os.close(control)
    while signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGCHLD:
        while True:
            dead, _ = os.waitpid(-1, os.WNOHANG)
            if dead == pid:
                return
            if not dead:
                break


def enter(order, init):
    """Start process 1; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        become(order)
        sys.argv = ["init", str(order["control"]), order["folder"] + "/data", order["folder"] + "/program"]
        exec(init, {"__name__": "__main__"})
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        os._exit(1)


def become(order):
    """In the child: give up all power, then all that is not ours. The order of the steps matters."""
    os.close(order["lock"])
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD})
    for capability in range(CAPABILITIES):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # as many as there are and as we may
    be_user(order["uid"])
    checked(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    os.chdir(order["folder"] + "/data")
    shut_in(order["readable"], [order["folder"]])
    load_filter(order["filter"])


def be_user(uid):
    """Become `uid`, and be no other any more."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or uid == 0:
        os._exit(1)


def shut_in(readable, writable):
    """Leave of all files only these: read and execute, or everything below."""
    version = checked(LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION))
    everything = (1 << BITS_BY_VERSION.get(version, BITS_NEWEST)) - 1
    words = [everything]
    if version >= 4:
        words.append(BIND_AND_CONNECT_TCP)
    if version >= 6:
        words.append(ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"{len(words)}Q", *words)
    rules = checked(LIBC.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0))
    for path in readable:
        allow(rules, path, EXECUTE | READ_FILE | READ_DIR)
    for path in ("/dev/zero", "/dev/random", "/dev/urandom", "/dev/full"):
        allow(rules, path, READ_FILE)
    allow(rules, "/dev/null", (READ_FILE | WRITE_FILE | TRUNCATE) & everything)
    for path in writable:
        allow(rules, path, everything)
    checked(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0))
    os.close(rules)


def allow(rules, path, access):
    """Allow `access` to a file, or to all below a folder; what is not there needs none."""
    try:
        fd = os.open(path, O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        access &= OF_FILES
    rule = struct.pack("=Qi", access, fd)
    checked(LIBC.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0))
    os.close(fd)


def load_filter(code):
    """Load the system-call filter, the last step: some of the steps before are denied by it."""
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(instructions))
    checked(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0))


def kill_all_of(uid):
    """Kill and reap until that user has no process left, however fast they fork."""
    while True:
        killer = os.fork()
        if killer == 0:
            try:
                be_user(uid)
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)
        os.waitpid(killer, 0)
        if not reap_some() and not any(belongs(pid, uid) for pid in os.listdir("/proc") if pid.isdigit()):
            return
        signal.sigtimedwait({signal.SIGCHLD}, 0.001)


def reap_some():
    """Reap the dead; say whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def belongs(pid, uid):
    """Say whether a process, not adopted by us, lives and is that user's: a dead service left it."""
    try:
        with open("/proc/" + pid + "/status") as file:
            status = dict(line.split(":", 1) for line in file)
    except OSError:
        return False
    return status["Uid"].split()[0] == str(uid) and status["State"].split()[0] != "Z"


def checked(result):
    """Return the result of a call of the C library. Raises OSError."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as given:
        told = marshal.load(given)
    main(told, marshal.loads(told["init"]))
