"""Tries to get out of its container, in every way we know; prints what each attempt met.

Runs inside a runner's container with nothing but the standard library. One line of JSON for each
attempt: name, and the answer: an error's name, a value that was read, or `DONE` where the attempt
went through. What each answer must be says the test that starts it.
"""

# ruff: noqa: T201 - its output is its result
from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Attempt = Callable[[], Any]
LIBC = ctypes.CDLL(None, use_errno=True)
DONE = "DONE"

NEW = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
    "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000,
}  # fmt: skip
SYSCALLS = {
    "swapon": 167, "reboot": 169, "sethostname": 170, "iopl": 172, "ioperm": 173,
    "init_module": 175, "delete_module": 176, "settimeofday": 164, "acct": 163, "quotactl": 179,
    "syslog": 103, "pivot_root": 155, "chroot": 161, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "perf_event_open": 298, "open_by_handle_at": 304,
    "finit_module": 313, "bpf": 321, "userfaultfd": 323, "fsopen": 430, "open_tree": 428,
    "move_mount": 429, "mount": 165, "umount2": 166,
}  # fmt: skip
"""Numbers of x86-64; arguments are zeros and a path, wrong for all of them on purpose: a call that
gets as far as looking at them (EFAULT, EINVAL) was let through."""


def name_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def called(number: int, *args: Any) -> Attempt:
    def attempt() -> Any:
        ctypes.set_errno(0)
        if LIBC.syscall(ctypes.c_long(number), *(args or (0, 0, 0, 0, 0))) == -1:
            raise OSError(ctypes.get_errno(), "")
        return DONE

    return attempt


def function(name: str, *args: Any) -> Attempt:
    def attempt() -> Any:
        ctypes.set_errno(0)
        if getattr(LIBC, name)(*args) == -1:
            raise OSError(ctypes.get_errno(), "")
        return DONE

    return attempt


def written(path: str, text: str = "1") -> Attempt:
    def attempt() -> Any:
        fd = os.open(path, os.O_WRONLY | (0 if path.startswith(("/proc", "/sys")) else os.O_CREAT))
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        return DONE

    return attempt


def read(path: str, size: int = 64) -> Attempt:
    def attempt() -> Any:
        with open(path, "rb", buffering=0) as f:
            return DONE if f.read(size) else "EMPTY"

    return attempt


def connected(address: str, port: int) -> Attempt:
    def attempt() -> Any:
        with socket.socket() as s:
            s.settimeout(2)
            s.connect((address, port))
        return DONE

    return attempt


def dialled(path: str) -> Attempt:
    def attempt() -> Any:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
        return DONE

    return attempt


def a_socket(family: int, kind: int, protocol: int = 0) -> Attempt:
    def attempt() -> Any:
        socket.socket(family, kind, protocol).close()
        return DONE

    return attempt


def in_child(work: Callable[[], None]) -> Attempt:
    """Its answer is the child's status: `code 0`, `signal 6`, `signal 6, core`."""

    def attempt() -> Any:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                work()
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            return f"signal {os.WTERMSIG(status)}" + (", core" if os.WCOREDUMP(status) else "")
        return f"code {os.WEXITSTATUS(status)}"

    return attempt


def status_line(name: str) -> Attempt:
    def attempt() -> Any:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return line.split(":", 1)[1].split()
        return None

    return attempt


def limit_of(number: int) -> Attempt:
    return lambda: list(resource.getrlimit(number))


def raised(number: int) -> Attempt:
    def attempt() -> Any:
        try:
            resource.setrlimit(number, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ValueError:
            return "EPERM"
        return DONE

    return attempt


def a_device() -> Any:
    os.mknod("/tmp/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    return DONE


def executed_from_tmp() -> Any:
    path = "/tmp/program"
    Path(path).write_bytes(Path(sys.executable).read_bytes()[:4096])
    os.chmod(path, 0o755)
    os.execv(path, [path])


def setuid_files() -> Any:
    found: list[str] = []
    for folder, _, files in os.walk("/usr"):
        for name in files:
            with contextlib.suppress(OSError):
                if os.lstat(f"{folder}/{name}").st_mode & (stat.S_ISUID | stat.S_ISGID):
                    found.append(f"{folder}/{name}")
    return found


def foreign_processes() -> Any:
    """All that are visible, and have another command than this program and its init."""
    ours = ("docker-init", "/sbin/docker-init", "python3")
    return sorted(
        p for p in os.listdir("/proc")
        if p.isdigit() and not Path(f"/proc/{p}/cmdline").read_text().startswith(ours)
    )  # fmt: skip


def cgroup(version1: str, version2: str) -> Attempt:
    def attempt() -> Any:
        for path in (f"/sys/fs/cgroup/{version1}", f"/sys/fs/cgroup/{version2}"):
            with contextlib.suppress(FileNotFoundError):
                return Path(path).read_text().strip()
        return None

    return attempt


def traced(pid: int) -> Attempt:
    """PTRACE_SEIZE, which stops nobody."""
    return function("ptrace", 0x4206, pid, None, None)


def attempts(places: dict[str, Any]) -> dict[str, Attempt]:
    """Everything; `places`: addresses of real servers on the host, and paths of others."""
    tried: dict[str, Attempt] = {
        "who: uid": status_line("Uid"),
        "who: gid": status_line("Gid"),
        "who: groups": status_line("Groups"),
        "who: no new privileges": status_line("NoNewPrivs"),
        "who: seccomp": status_line("Seccomp"),
        "who: setuid files": setuid_files,
        "become: setuid 0": lambda: os.setuid(0),
        "become: setgid 0": lambda: os.setgid(0),
        "become: setgroups": lambda: os.setgroups([0]),
        "become: a lower nice value": lambda: os.nice(-5),
        "become: a real-time process": lambda: os.sched_setscheduler(
            0, os.SCHED_FIFO, os.sched_param(1)
        ),
        "become: spared by the memory killer": written("/proc/self/oom_score_adj", "-1000"),
        "files: root": written("/escaped"),
        "files: /etc/passwd": written("/etc/passwd"),
        "files: /etc/hosts": written("/etc/hosts"),
        "files: the interpreter": written(os.path.realpath(sys.executable)),
        "files: the task's source": written(f"{os.path.dirname(os.path.abspath(__file__))}/x"),
        "files: the channel's folder": written("/run/hw/x"),
        "files: names in the channel's folder": lambda: sorted(os.listdir("/run/hw")),
        "files: another socket in its place": lambda: os.unlink("/run/hw/s.sock"),
        "files: a program in the temp folder": executed_from_tmp,
        "files: a device": a_device,
        "files: names of devices": lambda: sorted(os.listdir("/dev")),
        "kernel: core_pattern": written("/proc/sys/kernel/core_pattern", "|/tmp/x"),
        "kernel: sysrq": written("/proc/sys/kernel/sysrq"),
        "kernel: sysrq-trigger": written("/proc/sysrq-trigger", "h"),
        "kernel: ip_forward": written("/proc/sys/net/ipv4/ip_forward"),
        "kernel: overcommit": written("/proc/sys/vm/overcommit_memory"),
        "kernel: memory": read("/proc/kcore"),
        "kernel: keys": read("/proc/keys"),
        "kernel: timers": read("/proc/timer_list"),
        "kernel: messages": read("/dev/kmsg"),
        "kernel: firmware": lambda: os.listdir("/sys/firmware"),
        "kernel: devices in /sys": written("/sys/kernel/uevent_helper", "/tmp/x"),
        "cgroup: a release agent": written("/sys/fs/cgroup/memory/release_agent", "/tmp/x"),
        "cgroup: more memory": written("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"),
        "processes: numbers of others": foreign_processes,
        "processes: trace the agent": traced(places["agent"]),
        "processes: signal the agent": lambda: os.kill(places["agent"], 0),
        "network: interfaces": lambda: sorted(os.listdir("/sys/class/net")),
        "network: raw socket": a_socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "network: packet socket": a_socket(socket.AF_PACKET, socket.SOCK_RAW),
        "network: cloud metadata": connected("169.254.169.254", 80),
        "network: a name server": connected("8.8.8.8", 53),
        "sockets: docker": dialled("/var/run/docker.sock"),
        "sockets: docker under /run": dialled("/run/docker.sock"),
        "sockets: containerd": dialled("/run/containerd/containerd.sock"),
        "limits: files": limit_of(resource.RLIMIT_NOFILE),
        "limits: more files": raised(resource.RLIMIT_NOFILE),
        "limits: core": limit_of(resource.RLIMIT_CORE),
        "limits: more core": raised(resource.RLIMIT_CORE),
        "limits: memory": cgroup("memory/memory.limit_in_bytes", "memory.max"),
        "limits: processes": cgroup("pids/pids.max", "pids.max"),
        "limits: memory killer first": lambda: Path("/proc/self/oom_score_adj").read_text().strip(),
        "limits: core dump": in_child(lambda: os.kill(os.getpid(), signal.SIGABRT)),
        "environment: names": lambda: sorted(os.environ),
        "environment: of process 1": lambda: sorted(
            entry.partition(b"=")[0].decode()
            for entry in Path("/proc/1/environ").read_bytes().split(b"\0") if entry
        ),
    }  # fmt: skip
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        tried[f"who: {name}"] = status_line(name)
    for name, flag in NEW.items():
        tried[f"namespaces: unshare {name}"] = function("unshare", flag)
        tried[f"namespaces: clone {name}"] = called(56, flag | signal.SIGCHLD, 0, 0, 0, 0)
    for name, number in SYSCALLS.items():
        tried[f"call: {name}"] = called(number)
    for name, (address, port) in places["servers"].items():
        tried[f"network: {name}"] = connected(address, port)
    for name, path in places["sockets"].items():
        tried[f"sockets: {name}"] = dialled(path)
    return tried


def main() -> None:
    places = json.loads(Path(__file__).with_name("places.json").read_text())
    for name, attempt in attempts(places).items():
        try:
            answer = attempt()
            answer = DONE if answer is None else answer
        except OSError as e:
            answer = name_of(e) if not isinstance(e, TimeoutError) else "ETIMEDOUT"
        except Exception as e:
            answer = repr(e)
        print(json.dumps([name, answer]), flush=True)
    print(json.dumps(["end", True]), flush=True)


if __name__ == "__main__":
    main()
