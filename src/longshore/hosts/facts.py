"""What a host is: asked in one script, once for each connection."""

from __future__ import annotations

from pathlib import PurePosixPath

from longshore.hosts.base import Facts

#: programs that anything of ours, or a check of what a host lacks, asks for
TOOLS = (
    *("awk", "cp", "curl", "flock", "gzip", "journalctl", "loginctl", "rsync", "sed", "setpriv", "sha256sum", "ss"),
    *("sudo", "systemctl", "systemd-analyze", "systemd-run", "systemd-stdio-bridge", "tar", "unzip", "xz", "zstd"),
)

#: answers with KEY=VALUE lines
SCRIPT = r"""
printf 'uid=%s\nuser=%s\nhome=%s\n' "$(id -u)" "$(id -un)" "$HOME"
[ ! -d /run/systemd/system ] || systemctl --version 2>/dev/null | { read -r _ version _ && echo "systemd=$version"; }
read -r boot < /proc/sys/kernel/random/boot_id && echo "boot_id=$boot"
for tool do command -v "$tool" >/dev/null 2>&1 && echo "tool=$tool"; done
echo "kernel=$(uname -r)"
echo "architecture=$(uname -m)"
if [ -r /etc/os-release ]; then ( . /etc/os-release; echo "os=$PRETTY_NAME" ); fi
"""

_DETAILS = ("os", "architecture", "kernel")


def parse_facts(said: bytes) -> Facts:
    """Raises ValueError for what is no answer of SCRIPT."""
    found: dict[str, str] = {}
    tools = set()
    for line in said.decode(errors="replace").splitlines():
        key, equals, value = line.partition("=")
        if key == "tool":
            tools.add(value)
        elif equals:
            found[key] = value
    version = "".join(digit for digit in found.get("systemd", "0").split(".")[0] if digit.isdigit())
    try:
        return Facts(
            uid=int(found["uid"]),
            user=found["user"],
            home=PurePosixPath(found["home"]),
            systemd=int(version or 0),
            boot_id=found["boot_id"],
            tools=frozenset(tools),
            details={key: found[key] for key in _DETAILS if key in found},
        )
    except KeyError as missing:
        raise ValueError(f"it did not say its {missing.args[0]}") from None
