"""What runs between fork and exec where an instance has limits or a user: joins cgroups, sets limits, drops rights.

Run as `python -I -S exec_helper.py JOB STATUS` (two descriptors) by drivers/spawn.py, and never imported by the
manager. It becomes the program by exec, so limits hold from the program's first instruction and there is no moment in
which it runs without them; writing the pid to a cgroup from outside, or prlimit(2) after the start, leave such a moment
(runtimes read RLIMIT_NOFILE once, as they start). It imports built-in modules alone: 7 ms instead of 14.

JOB     a file of NUL-separated `name=value` fields: cgroup (a file to write to), nofile, gid, groups, uid, cwd, arg,
        env
STATUS  closed by a successful exec; else it gets `STAGE ERRNO`, STAGE being cgroup, limits, user, cwd or program
"""

# `signal` is this module with enums around it, which cost 2 ms.
import _signal  # type: ignore[import-not-found]
import os
import sys

if __name__ == "__main__":
    job, status = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(status, False)
    with open(job, "rb") as file:
        fields = [field.partition(b"=")[::2] for field in file.read().split(b"\0")[:-1]]
    one = dict(fields)
    stage = "cgroup"
    try:
        for name, value in fields:
            if name == b"cgroup":
                procs = os.open(value, os.O_WRONLY)
                os.write(procs, b"0")
                os.close(procs)
        stage = "limits"
        if b"nofile" in one:
            import resource

            count = int(one[b"nofile"])
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
        stage = "user"
        if b"uid" in one:
            os.setgroups([int(group) for group in one[b"groups"].split(b",") if group])
            os.setgid(int(one[b"gid"]))
            os.setuid(int(one[b"uid"]))
        stage = "cwd"
        os.chdir(one[b"cwd"])
        stage = "program"
        # Python ignores these two as it starts, and what is ignored stays ignored across exec.
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
        _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
        arguments = [value for name, value in fields if name == b"arg"]
        os.execvpe(arguments[0], arguments, dict(value.split(b"=", 1) for name, value in fields if name == b"env"))
    except OSError as error:
        os.write(status, f"{stage} {error.errno}".encode())
    os._exit(127)
