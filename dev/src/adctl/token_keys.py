"""The keys that auth-service signs access tokens and links with: files named by the UTC time from which they sign."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from adctl.errors import UserError
from adctl.state import write_privately

# Longer than auth-service's tokens (15 minutes) and links (7 days) live.
TOKEN_LIFETIME = timedelta(minutes=30)
LINK_LIFETIME = timedelta(days=8)
# auth-service reads the folder every 2 s and the gateway fetches its keys every 10 s; then both have a new key.
PROPAGATION_S = 13
_FILE_NAME_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class TokenKey:
    """A key's file; it signs from `begins` until the next key does."""

    path: Path
    begins: datetime
    ends: datetime | None

    def state(self, now: datetime) -> str:
        """Return the key's present use, as text."""
        if self.begins > now:
            return f"begins to sign in {(self.begins - now).total_seconds():.0f} s"
        if self.ends is None or self.ends > now:
            return "signs"
        if self.ends + TOKEN_LIFETIME > now:
            return f"its tokens are accepted until {self.ends + TOKEN_LIFETIME:%H:%M:%S}"
        return f"its links are accepted until {self.ends + LINK_LIFETIME:%Y-%m-%d}"


class TokenKeys:
    """The folder with the keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, older: Path) -> None:
        """Create the first key unless there is one: from the only key of an earlier release's state, or new."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.all():
            return
        path = self._path(datetime.now(UTC) - timedelta(minutes=1))
        if older.exists():
            older.replace(path)
        else:
            _write_new(path)

    def all(self) -> list[TokenKey]:
        """Return all keys, oldest first; UserError naming a file whose name is not a time."""
        begins = {path: _begins(path) for path in sorted(self.folder.glob("*.pem"))}
        ends = [*begins.values(), None][1:]
        return [TokenKey(path, begins[path], end) for path, end in zip(begins, ends, strict=True)]

    def rotate(self, in_s: int) -> datetime:
        """Create a key that signs from `in_s` seconds on, which is returned, and delete those whose links expired."""
        begins = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=in_s)
        path = self._path(begins)
        if path.exists():
            raise UserError(f"{path} exists already; wait a second")
        _write_new(path)
        for key in self.all():
            if key.ends is not None and key.ends + LINK_LIFETIME < datetime.now(UTC):
                key.path.unlink()
        return begins

    def _path(self, begins: datetime) -> Path:
        return self.folder / f"{begins:{_FILE_NAME_FORMAT}}.pem"


def pem(key: Ed25519PrivateKey | RSAPrivateKey) -> str:
    """Return a private key as text."""
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()


def _write_new(path: Path) -> None:
    write_privately(path, pem(Ed25519PrivateKey.generate()))


def _begins(path: Path) -> datetime:
    try:
        return datetime.strptime(path.stem, _FILE_NAME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise UserError(f"{path} is not named by a time, such as 20260131T235959Z.pem; remove it") from None
