"""An SSH server for files (SFTP), on which Ana, Ben and Chen log in with one key.

    python -m tests.helpers.ssh_server FOLDER

Serves FOLDER/files, writes the key as FOLDER/key, and FOLDER/other_key, which it refuses. Prints its port as one
line of JSON, and ends when its input is closed.
"""

import asyncio
import json
import sys
from pathlib import Path

import asyncssh

PEOPLE = ("ana", "ben", "chen")


class Server(asyncssh.SSHServer):
    """Who may log in."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self.key = key

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username in PEOPLE and key == self.key


async def main(folder: Path) -> None:
    """Serve until the input is closed."""
    host, key, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(3))
    key.write_private_key(folder / "key")
    other.write_private_key(folder / "other_key")
    other.write_public_key(folder / "other_key.pub")
    (folder / "files").mkdir()
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Server(key.convert_to_public()),
        server_host_keys=[host],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder / "files").encode()),
    )
    print(json.dumps({"port": server.get_port()}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
