"""Sign-ins, from environment variables and OpenCode's auth.json.

Reads them and never writes them (`authfile` does). No token leaves it but inside a `Secret`.
"""

import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictStr,
    TypeAdapter,
    ValidationError,
)

from core.authfile import token_digest
from core.authnotes import Notes
from core.errors import CredentialError
from core.model import Credential, CredentialType, Secret
from core.provider import Provider, Renewed

CONTENT_VARIABLE = "OPENCODE_AUTH_CONTENT"

_LARGEST = 4 * 2**20
_TOKEN = re.compile(r"[\x21-\x7e]+")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*(?!\d+\Z){_LABEL}")


def data_home(environ: Mapping[str, str], home: Path) -> Path:
    """Where OpenCode keeps its data. Its xdg-basedir does the same on every system."""
    chosen = environ.get("XDG_DATA_HOME")
    return Path(chosen) if chosen else home / ".local" / "share"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Api(_Entry):
    type: Literal["api"]
    key: StrictStr = Field(repr=False)


class _OAuth(_Entry):
    type: Literal["oauth"]
    access: StrictStr = Field(repr=False)
    refresh: StrictStr = Field(repr=False)
    expires: FiniteFloat = Field(strict=True)
    """Milliseconds since the epoch; 0 never expires."""
    account_id: StrictStr | None = Field(None, alias="accountId", repr=False)
    enterprise_url: StrictStr | None = Field(None, alias="enterpriseUrl")


_SIGN_IN: TypeAdapter[_Api | _OAuth] = TypeAdapter(_Api | _OAuth)


@dataclass(frozen=True, slots=True)
class _Kept:
    """New tokens, for an entry of the file that has the old ones: not yet replaced, or put back."""

    replaced: Secret
    renewed: Renewed


@dataclass(frozen=True, slots=True)
class _Content:
    """What one text of sign-ins held: its entries by provider key, or why there are none."""

    entries: Mapping[str, Any] = field(default_factory=dict, repr=False)
    problem: CredentialError | None = None


class Credentials:
    """The environment first, then OpenCode's sign-ins. The first that can be used wins."""

    def __init__(self, environ: Mapping[str, str], data_home: Path) -> None:
        self._environ = environ
        self._file = data_home / "opencode" / "auth.json"
        self.notes = Notes(self._file)
        self._kept: dict[str, _Kept] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._held = _Content()
        self._content = _parsed(environ.get(CONTENT_VARIABLE, ""), CONTENT_VARIABLE)
        self._refused: dict[str, tuple[CredentialError, ...]] = {}

    @property
    def file(self) -> Path:
        """OpenCode's auth.json."""
        return self._file

    def get(self, provider: Provider) -> Credential | None:
        """Never raises: what could not be used stands in `problems`."""
        refused: list[CredentialError] = []
        found = None
        for candidate in self._candidates(provider):
            if isinstance(candidate, Credential):
                found = candidate
                break
            refused.append(candidate)
        self._refused[provider.id] = tuple(refused)
        return found

    def keep(self, entry: str, replaced: Secret, renewed: Renewed) -> None:
        """Use new tokens for an entry of the file while that has the replaced refresh token."""
        self._kept[entry] = _Kept(replaced, renewed)

    def let_go(self, entry: str) -> None:
        """Use what the file has."""
        self._kept.pop(entry, None)

    def is_ahead(self, entry: str) -> bool:
        """Whether newer tokens are used for an entry than the file has."""
        self._refresh()
        held = self._held.entries.get(entry)
        return self._newest(entry, held) is not held

    def is_signed_out(self, credential: Credential) -> bool:
        """Whether its provider has refused for good to renew it, as it stands in the file now."""
        entry, refresh = credential.entry, credential.refresh
        if entry is None or refresh is None:
            return False
        return self.notes.is_refused(token_digest(entry, refresh))

    def sources(self, provider: Provider) -> tuple[str, ...]:
        """What is looked at, in order, for people."""
        return (*provider.env, *(self._opencode_sources() if provider.opencode_keys else ()))

    @property
    def problems(self) -> tuple[CredentialError, ...]:
        """What is wrong with the sources now, and with the entries that were last asked for."""
        self._refresh()
        found = [self._content.problem, self._held.problem]
        found += [one for refused in self._refused.values() for one in refused]
        return tuple(one for one in found if one is not None)

    def _candidates(self, provider: Provider) -> Iterator[Credential | CredentialError]:
        for name in provider.env:
            if token := self._environ.get(name, "").strip():
                yield _credential(provider, provider.env_type, token, name)
        if not provider.opencode_keys:
            return
        source, entries = self._opencode()
        for key in provider.opencode_keys:
            in_file = source != CONTENT_VARIABLE
            entry = self._newest(key, entries.get(key)) if in_file else entries.get(key)
            found = _from_entry(provider, entry, source)
            if isinstance(found, Credential) and in_file:
                found = self._in_file(found, key, entry)
            if found is not None:
                yield found

    def _newest(self, key: str, entry: Any) -> Any:
        """The entry with the tokens that are kept for it."""
        kept = self._kept.get(key)
        if kept is None or not isinstance(entry, dict):
            return entry
        renewed, expires = kept.renewed, entry.get("expires")
        if entry.get("refresh") != kept.replaced.reveal():
            return entry
        lasts = isinstance(expires, int | float) and expires >= round(renewed.expires_at * 1000)
        if lasts and renewed.refresh in (None, kept.replaced):
            return entry  # a refresh token that stays does not tell which token is newer
        newest = entry | {
            "access": renewed.access.reveal(),
            "refresh": (renewed.refresh or kept.replaced).reveal(),
            "expires": round(renewed.expires_at * 1000),
        }
        if not entry.get("accountId") and renewed.account_id is not None:
            newest["accountId"] = renewed.account_id
        return newest

    def _in_file(self, found: Credential, key: str, entry: Any) -> Credential:
        """A sign-in whose tokens are renewed stays the one that it was."""
        if found.type is not CredentialType.OAUTH or not entry["refresh"]:
            return found
        sign_in, refresh = self.notes.first(found.sign_in), Secret(entry["refresh"])
        return replace(found, sign_in=sign_in, refresh=refresh, entry=key)

    def _opencode(self) -> tuple[str, Mapping[str, Any]]:
        # As OpenCode does: the variable replaces the file, unless it is broken.
        if self._opencode_sources() == (CONTENT_VARIABLE,):
            return CONTENT_VARIABLE, self._content.entries
        self._refresh()
        return str(self._file), self._held.entries

    def _opencode_sources(self) -> tuple[str, ...]:
        if not self._environ.get(CONTENT_VARIABLE):
            return (str(self._file),)
        return (CONTENT_VARIABLE, *([str(self._file)] if self._content.problem else []))

    def _refresh(self) -> None:
        """Read the file if it is another one than the one last read."""
        if self._opencode_sources() == (CONTENT_VARIABLE,):
            return
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                # Somebody may be in the middle of writing it: the sign-ins it held still count.
                found, held = _read(self._file, status.st_mode), self._held.entries
                self._held = replace(found, entries=held) if found.problem else found
                self._stamp = stamp
        except (FileNotFoundError, NotADirectoryError):
            self._stamp, self._held = None, _Content()
        except (OSError, ValueError) as error:
            self._stamp, self._held = None, _broken(str(self._file), _unreadable(error))


def _read(file: Path, mode: int) -> _Content:
    if not stat.S_ISREG(mode):
        return _broken(str(file), "is not a regular file")
    with file.open("rb") as opened:
        raw = opened.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        return _broken(str(file), "is larger than 4 MB")
    try:
        return _parsed(raw.decode("utf-8-sig"), str(file))
    except UnicodeDecodeError:
        return _broken(str(file), "is not UTF-8 text")


def _parsed(text: str, source: str) -> _Content:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        return _broken(source, f"is not JSON (line {error.lineno}, column {error.colno})")
    except (ValueError, RecursionError):
        return _broken(
            source, "is not JSON that can be read (nested too deeply, or a number too long)"
        )
    if not isinstance(value, dict):
        return _broken(source, "holds no JSON object of sign-ins")
    return _Content({key.rstrip("/"): entry for key, entry in value.items()})


def _broken(source: str, problem: str) -> _Content:
    return _Content(problem=CredentialError(source, problem))


def _unreadable(error: OSError | ValueError) -> str:
    why = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read ({why or 'not a path'})"


def _from_entry(provider: Provider, entry: Any, source: str) -> Credential | CredentialError | None:
    """None where there is no such sign-in. OpenCode drops malformed entries silently too."""
    try:
        sign_in = _SIGN_IN.validate_python(entry)
    except ValidationError:
        return None
    if not provider.accepts(CredentialType(sign_in.type)):
        return None
    if isinstance(sign_in, _Api):
        return _credential(provider, CredentialType.API, sign_in.key, source)
    token = provider.opencode_token({k: v for k, v in entry.items() if isinstance(v, str)})
    if not token:
        return None
    host = _host(sign_in.enterprise_url) if sign_in.enterprise_url else None
    if sign_in.enterprise_url and host is None:
        return CredentialError(source, f"`enterpriseUrl` of {provider.id} is not a host name")
    if sign_in.account_id and not _TOKEN.fullmatch(sign_in.account_id):
        return CredentialError(source, f"`accountId` of {provider.id} is not what a header carries")
    found = _credential(
        provider,
        CredentialType.OAUTH,
        token,
        source,
        stable=sign_in.account_id or sign_in.refresh,
    )
    if isinstance(found, CredentialError):
        return found
    expires_at = sign_in.expires / 1000 if sign_in.expires else None
    return replace(
        found, expires_at=expires_at, enterprise_host=host, account_id=sign_in.account_id or None
    )


def _credential(
    provider: Provider, kind: CredentialType, token: str, source: str, stable: str | None = None
) -> Credential | CredentialError:
    if not _TOKEN.fullmatch(token):
        problem = "holds a space, a line end or another character that no header can carry"
        return CredentialError(source, f"the token for {provider.id} {problem}")
    return Credential(kind, Secret(token), source, sign_in_digest(provider.id, stable or token))


def sign_in_digest(provider: str, stable: str) -> str:
    """Tells one sign-in from another by what stays of it: its account, or else its refresh token."""
    text = f"{provider}\0{stable}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:12]


def _host(url: str) -> str | None:
    """`company.ghe.com` from that or from `https://company.ghe.com/`; None from anything else."""
    bare = re.fullmatch(r"(?:https?://)?([^/]*)/?", url.strip().lower())
    return bare[1] if bare and _HOST_NAME.fullmatch(bare[1]) else None
