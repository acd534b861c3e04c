"""Keys and the configuration of ssh."""

from machine import NAME, run
from network import address, host_name

USERS = ("root", "deploy")


def make_keys(folder, count):
    """Keys are made for each run, so that none is ever in the cache."""

    def make(path, comment):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path)

    make(folder / "id_ed25519", NAME)
    known, blocks = "", ""
    for i in range(1, count + 1):
        (folder / host_name(i)).mkdir()
        key = folder / host_name(i) / "ssh_host_ed25519_key"
        make(key, host_name(i))
        known += f"{host_name(i)},{address(i)} {' '.join(key.with_suffix('.pub').read_text().split()[:2])}\n"
        blocks += f"Host {host_name(i)}\n    HostName {address(i)}\n"
    (folder / "known_hosts").write_text(known)
    (folder / "ssh_config").write_text(
        f'{blocks}Host *\n    User {USERS[0]}\n    IdentityFile "{folder}/id_ed25519"\n    IdentitiesOnly yes\n'
        f'    UserKnownHostsFile "{folder}/known_hosts"\n    GlobalKnownHostsFile /dev/null\n'
        "    StrictHostKeyChecking yes\n    BatchMode yes\n    ConnectTimeout 5\n"
    )
