"""The keys that auth-service signs access tokens and links with: files named by the UTC time they begin to sign."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from adctl.children import ChildError
from adctl.state import write_privately

# What auth-service holds to: tokens live 15 minutes, links 7 days; both with something to spare.
TOKENS_ACCEPTED = timedelta(minutes=30)
KEPT = timedelta(days=8)
# auth-service looks at the folder every 2 s, the gateway asks it every 10 s; by then both have seen a new key.
SEEN_AFTER_S = 13
_NAME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class TokenKey:
    """A key's file; it signs from `begins` until its successor's time has come."""

    path: Path
    begins: datetime
    ends: datetime | None

    def state(self, now: datetime) -> str:
        """What it is good for, for people."""
        if self.begins > now:
            return f"begins to sign in {(self.begins - now).total_seconds():.0f} s"
        if self.ends is None or self.ends > now:
            return "signs"
        if self.ends + TOKENS_ACCEPTED > now:
            return f"its tokens are accepted until {self.ends + TOKENS_ACCEPTED:%H:%M:%S}"
        return f"its links are good, at most until {self.ends + KEPT:%Y-%m-%d}"


class TokenKeys:
    """The folder of the keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, older: Path) -> None:
        """Make the first key unless there is one: the file of a state that had only one, or a new one."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.all():
            return
        path = self._path(datetime.now(UTC) - timedelta(minutes=1))
        if older.exists():
            older.replace(path)
        else:
            _write_new(path)

    def all(self) -> list[TokenKey]:
        """Return all keys, oldest first; ChildError naming a file that is named wrongly."""
        begins = {path: _begins(path) for path in sorted(self.folder.glob("*.pem"))}
        ends = [*begins.values(), None][1:]
        return [TokenKey(path, begins[path], end) for path, end in zip(begins, ends, strict=True)]

    def rotate(self, in_s: int) -> datetime:
        """Make a key that begins to sign in that time, which is returned, and delete those that are long over."""
        begins = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=in_s)
        path = self._path(begins)
        if path.exists():
            raise ChildError(f"{path} is there already; wait a second")
        _write_new(path)
        for key in self.all():
            if key.ends is not None and key.ends + KEPT < datetime.now(UTC):
                key.path.unlink()
        return begins

    def _path(self, begins: datetime) -> Path:
        return self.folder / f"{begins:{_NAME}}.pem"


def pem(key: Ed25519PrivateKey | RSAPrivateKey) -> str:
    """Return a private key as text."""
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()


def _write_new(path: Path) -> None:
    write_privately(path, pem(Ed25519PrivateKey.generate()))


def _begins(path: Path) -> datetime:
    try:
        return datetime.strptime(path.stem, _NAME).replace(tzinfo=UTC)
    except ValueError:
        raise ChildError(f"{path} is not named by a time, such as 20260131T235959Z.pem; take it away") from None
