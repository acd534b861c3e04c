"""Real systemd hosts on one machine, for integration tests: `python3 tests/hosts/kit COMMAND`.

Each host runs a full systemd as PID 1 with sshd, python3, sudo and an address of its own. All of them hang from one
process, the keeper: every mount lives in its private mount namespace, every network interface in namespaces that only
it and the hosts hold. The machine's own mounts and network are never touched, and when the keeper dies, by whatever
cause, the kernel ends the hosts and takes everything down with them.

Exit status: 0 done, 1 failed, 2 wrong usage, 77 cannot run here (a test may skip); `exec` gives its command's.
"""

import argparse
import os
import re
import signal
import sys
from pathlib import Path

from commands import down, execute, power, set_pace, status, up
from machine import CannotRun, Failed, say
from network import CONTROL
from rundir import ask
from starting import keep
from tree import build, cached


def index_of(text):
    match = re.fullmatch(r"(?:host)?([1-9][0-9]*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"no host: {text!r} (say 1 or host1)")
    return int(match[1])


def parse():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hosts", description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, text, **arguments):
        sub = commands.add_parser(name, help=text, description=text)
        for argument, options in arguments.items():
            sub.add_argument(argument if argument != "no_wait" else "--no-wait", **options)

    count = {"type": int, "metavar": "N"}
    one_or_more = {"type": index_of, "nargs": "+", "metavar": "HOST", "help": "1 or host1; more than one may be named"}
    no_wait = {"action": "store_true", "help": "do not wait till it is done"}
    command("build", "make the tree if it is not cached; print its path")
    command("cached", "print the path of the tree; exit with 77 where it is yet to be built")
    command("up", "bring up N hosts, wait till each is booted and ssh answers, print JSON", count=count)
    commands.choices["up"].add_argument("--owner", type=int, metavar="PID", help="have the hosts end with this process")
    command("down", "everything gone, whatever state it is in")
    command("exec", f"run a command on the hosts' network, at {CONTROL}", argv={"nargs": "+", "metavar": "-- COMMAND"})
    command("cut", "pull the network cable", hosts=one_or_more)
    command("mend", "plug it in again", hosts=one_or_more)
    command("crash", "power cut: kill -9 of its PID 1, and not a packet more", hosts=one_or_more)
    command("start", "power on", hosts=one_or_more, no_wait=no_wait)
    command("stop", "clean power-off", hosts=one_or_more, no_wait=no_wait)
    command("reboot", "clean reboot", hosts=one_or_more, no_wait=no_wait)
    share = {"type": float, "metavar": "SHARE", "help": "of one processor, such as 0.2; 0: no bound"}
    command("pace", "bound the processor time of each host; print a cgroup with the same bound", share=share)
    command("status", "print JSON: each host's state")
    commands.add_parser("keep").add_argument("folder")  # the keeper itself: `up` calls this, nobody else
    return parser.parse_args()


def main():
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    arguments = parse()
    if os.geteuid() != 0:
        raise CannotRun("only root can do this")
    if arguments.command == "exec":
        execute(arguments.argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # `up` cleans up after itself then
    os.umask(0o022)
    match arguments.command:
        case "build":
            print(build())
        case "cached":
            print(cached())
        case "up":
            up(arguments.count, arguments.owner)
        case "down":
            down()
        case "pace":
            set_pace(arguments.share)
        case "status":
            status()
        case "keep":
            keep(Path(arguments.folder))
        case "cut" | "mend" | "crash":
            for index in arguments.hosts:
                ask(arguments.command, index)
        case "start" | "stop" | "reboot":
            power(arguments.command, arguments.hosts, not arguments.no_wait)


if __name__ == "__main__":
    try:
        main()
    except CannotRun as error:
        say(f"cannot run here: {error}")
        sys.exit(77)
    except (Failed, OSError) as error:
        say(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
