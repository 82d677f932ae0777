"""What a process gives up before it runs a program that nobody has read: Linux namespaces, file system, privileges, calls.

Everything goes through libc, so no package is needed. A process that can't be confined raises ``OSError``; nothing here falls
back to less. References: user_namespaces(7), pivot_root(2), seccomp(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

NOBODY = 65534
WORK = "/tmp"  # noqa: S108 - the only folder that a program can write into, in a file system of its own

_NAMESPACES = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000}
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 0x1000, 0x4000, 0x40000
_DETACH = 2
_LIBRARIES = ("/usr/lib/", "/usr/lib64/")  # there as a whole
_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38
_FILTER = 2  # SECCOMP_MODE_FILTER
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x50000, 0x7FFF0000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_CLONE_THREAD = 0x10000

# Calls refused with EPERM, by machine. Sockets because vsock isn't bound to a network namespace; new processes so that a
# limit on one process's memory is a limit on the program's; shared memory and memfd because no other limit counts them.
_REFUSED = {
    "x86_64": {
        **{"fork": 57, "vfork": 58, "socket": 41, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "memfd_create": 319},
        **{"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438},
        **{"mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308},
        **{"bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250},
        **{"open_by_handle_at": 304, "init_module": 175, "finit_module": 313, "kexec_load": 246},
    },
    "aarch64": {
        **{"socket": 198, "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180, "memfd_create": 279},
        **{"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "pidfd_getfd": 438},
        **{"mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268},
        **{"bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219},
        **{"open_by_handle_at": 265, "init_module": 105, "finit_module": 273, "kexec_load": 104},
    },
}
_ALSO_REFUSED = (425, 426, 427, 428, 429, 430, 442)  # io_uring and the newer mount calls: the same numbers on both
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def enter_namespaces(finish: Callable[[int], None]) -> None:
    """Moves this process into new namespaces; its next child is the first process of a process namespace.

    Args:
        finish: called with the process id in a helper that stays outside, to write the map of user ids.
    """
    wait, ready = os.pipe()
    pid = os.getpid()
    helper = os.fork()
    if helper == 0:
        code = 1
        try:
            os.close(ready)
            if os.read(wait, 1):
                finish(pid)
                code = 0
        finally:
            os._exit(code)
    _check(_libc.unshare(sum(_NAMESPACES.values())), "unshare")
    os.write(ready, b"x")
    os.close(ready)
    os.close(wait)
    if os.waitpid(helper, 0)[1]:
        raise OSError(errno.EPERM, "the map of user ids was refused")


def write_user_map(pid: int) -> None:
    """Maps this process's user into the namespace of ``pid``; for root also ``NOBODY``, which it becomes later."""
    user, group = os.geteuid(), os.getegid()
    users, groups = f"{user} {user} 1\n", f"{group} {group} 1\n"
    if user == 0:
        users, groups = users + f"{NOBODY} {NOBODY} 1\n", groups + f"{NOBODY} {NOBODY} 1\n"
    else:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/gid_map", groups)
    _write(f"/proc/{pid}/uid_map", users)


def replace_root(executable: str, size: int) -> None:
    """Leaves a file system that holds the interpreter and the system's libraries, read-only, and an empty ``WORK``.

    Args:
        executable: the interpreter, links resolved.
        size: bytes that ``WORK`` can hold.
    """
    _mount(None, "/", None, _REC | _PRIVATE)
    sources = {path: os.open(path, os.O_PATH) for path in _interpreter(executable)}
    new = WORK
    _mount("tmpfs", new, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for path in ("/lib", "/lib64", "/usr/lib", "/usr/lib64"):
        if Path(path).is_symlink():
            Path(new + path).parent.mkdir(parents=True, exist_ok=True)
            Path(new + path).symlink_to(Path(path).readlink())
        elif Path(path).is_dir():
            sources[path] = os.open(path, os.O_PATH)
    for path, source in sources.items():
        _bind(source, new + path)
    Path(new + WORK).mkdir()
    _mount("tmpfs", new + WORK, "tmpfs", _NOSUID | _NODEV | _NOEXEC, f"size={size},nr_inodes=1024,mode=1777")
    _mount(None, new, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(new)
    _check(_libc.syscall({"x86_64": 155, "aarch64": 41}[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")
    os.chdir(WORK)


def drop_privileges(limits: Mapping[int, int]) -> None:
    """Gives up user, capabilities and the right to get any back; sets limits; refuses what nobody needs, new processes too.

    Args:
        limits: by ``resource.RLIMIT_…``.
    """
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)  # version 3: two words a set
    _check(_libc.capset(header, nothing), "capset")
    _prctl(_NO_NEW_PRIVS, 1)
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))
    _refuse_calls()


def hide_memory() -> None:
    """No other process may read this one's memory or descriptors, and it dies with its parent."""
    _prctl(_DUMPABLE, 0)
    _prctl(_PDEATHSIG, 9)


def _refuse_calls() -> None:
    machine = os.uname().machine
    if machine not in _AUDIT:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        (_IF_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),  # glibc then falls back to clone, whose flags can be read here
    ]
    for number in (*_REFUSED[machine].values(), *_ALSO_REFUSED):
        program += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    program += [
        (_IF_EQUAL, 1, 0, _CLONE[machine]),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    _prctl(_SECCOMP, _FILTER, head)


def _interpreter(executable: str) -> list[str]:
    """The interpreter's own files: the program, its library, the standard library."""
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    folders = {str(Path(sysconfig.get_path(name, vars=base)).resolve()) for name in ("stdlib", "platstdlib")}
    libraries = [str(path) for path in Path(sys.base_prefix, "lib").glob("libpython*.so*") if not path.is_symlink()]
    own = [path for path in (*sorted(folders), *libraries) if Path(path).exists() and not path.startswith(_LIBRARIES)]
    cache = [path for path in ("/etc/ld.so.cache",) if Path(path).is_file()]
    return [executable, *own, *cache]


def _bind(source: int, target: str) -> None:
    """Mounts what an open descriptor names at ``target``, read-only."""
    if Path(f"/proc/self/fd/{source}").is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    _mount(f"/proc/self/fd/{source}", target, None, _BIND | _REC)
    _mount(None, target, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.close(source)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text if text is None else text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*texts, ctypes.c_ulong(flags), options.encode() if options else None), f"mount {target}")


def _prctl(*arguments: int | bytes) -> None:
    padded = [*arguments, *[0] * (5 - len(arguments))]
    _check(_libc.prctl(*(value if isinstance(value, bytes) else ctypes.c_ulong(value) for value in padded)), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)
