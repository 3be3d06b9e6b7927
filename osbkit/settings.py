"""Every setting of osbkit: one frozen record, read from the environment once.

    Settings.from_environment()   OSBKIT_* of the process, or of a mapping in a test
    Settings(port=9000)           the same record by hand; reads no environment

No other module reads the environment. Every secret may come from a file instead,
`OSBKIT_BASIC_PASSWORD_FILE=/run/secrets/password`. An empty variable counts as
unset. The labelled credentials of OSBKIT_CREDENTIALS_FILE are read elsewhere
(`osbkit.api.credentials`); whether any credential is there is judged by
`osbkit.api.auth`, because commands such as `osbkit db upgrade` need none.

Units: spans are seconds (float), written `40`, `2.5`, `500ms`, `2s`, `10m`, `1h`
or `8d`; sizes are bytes.
"""

import ipaddress
import os
import re
from collections.abc import Container, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from osbkit.errors import SettingsInvalid

PREFIX = "OSBKIT_"
SECRET_FILE_BYTES = 64 * 1024

# What Kubernetes puts into the pods of a namespace for a Service `osbkit` or
# `osbkit-<name>`; a `_PORT` counts only with the value that Kubernetes gives it.
_INJECTED = re.compile(
    r"OSBKIT_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_INJECTED_PORT = re.compile(r"OSBKIT_(?:[A-Z0-9_]+_)?PORT")
_PORT_LINK = re.compile(r"(?:tcp|udp|sctp)://")

_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PREFIX_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOOPBACKS = {  # the addresses that mean every address are no one's address
    str(ipaddress.IPv4Address(0)): "127.0.0.1",
    str(ipaddress.IPv6Address(0)): "::1",
}


def _seconds(value: object) -> object:
    """`"10m"` → 600.0; everything that is not text passes unchanged."""
    if not isinstance(value, str):
        return value
    match = _SPAN.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a span such as 40, 2.5, 500ms, 2s, 10m or 1h")
    return float(match[1]) * _SECONDS[match[2] or "s"]


Span = Annotated[float, BeforeValidator(_seconds)]


def _words(value: object) -> object:
    """`"a, b"` → {"a", "b"}; everything that is not text passes unchanged."""
    if not isinstance(value, str):
        return value
    return frozenset(word.strip() for word in value.split(",") if word.strip())


Ids = Annotated[frozenset[str], BeforeValidator(_words)]


class Settings(BaseSettings):
    """What the operator decides. Field `sync_budget` is OSBKIT_SYNC_BUDGET.

    The description of a field completes the sentence "OSBKIT_… must be", so it is
    also what an operator reads when the value is refused.

    Raises:
        SettingsInvalid: from `from_environment`, with every problem on a line of
            its own and no value of any setting.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    database_url: SecretStr = Field(
        SecretStr("sqlite:///osbkit.db"),
        min_length=1,
        description="a database URL such as sqlite:///osbkit.db or"
        " postgresql://user@host/database",
    )
    engine: Literal["auto", "embedded", "distributed"] = Field(
        "auto",
        description="auto, embedded, or distributed on PostgreSQL, where it is auto",
    )
    worker: Literal["inline", "none"] = Field(
        "inline",
        description="inline, or none where `osbkit worker` runs the operations",
    )
    host: str = Field("127.0.0.1", description="an IP address or a host name")
    port: int = Field(8080, ge=1, le=65535, description="a port, 1 to 65535")
    path_prefix: str = Field("", description="a path such as /broker")
    public_url: str = Field(
        "",
        description="the http or https URL at which others reach this broker,"
        " prefix included, without credentials, query or fragment",
    )
    basic_user: str | None = Field(
        None, description="a user name without colon or control characters"
    )
    basic_password: SecretStr | None = Field(
        None, description="set together with OSBKIT_BASIC_USER"
    )
    bearer_token: SecretStr | None = Field(
        None, description="printable ASCII without spaces"
    )
    credentials_file: Path | None = Field(
        None, description="the path of a YAML file with credentials"
    )
    auth: Literal["required", "disabled"] = Field(
        "required", description="required, or disabled for a broker open to everybody"
    )
    encryption_keys: SecretStr | None = Field(
        None, description="label:base64 pairs parted by commas; the first one seals"
    )
    max_body_bytes: int = Field(
        1024 * 1024, ge=1, description="a whole number of bytes, at least 1"
    )
    sync_budget: Span = Field(
        2.0, ge=0, le=3600, description="a span from 0s to 1h, such as 2 or 500ms"
    )
    sync_budget_required: Span = Field(
        40.0, ge=0, le=3600, description="a span from 0s to 1h, such as 40"
    )
    operation_deadline: Span = Field(
        3600.0, ge=1, le=30 * 86400, description="a span from 1s to 30d, such as 1h"
    )
    retention_days: int = Field(
        8, ge=1, le=3650, description="a whole number of days, 1 to 3650"
    )
    concurrency: int = Field(64, ge=1, le=10_000, description="a number, 1 to 10000")
    allow_catalog_changes: Ids = Field(
        frozenset(),
        description="ids of offerings and plans parted by commas, or all",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="json, console, or auto: console on a terminal, else json",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: the environment comes by `from_environment`."""
        return (init_settings,)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read OSBKIT_* and the files they name.

        Raises:
            SettingsInvalid: every unknown name, unreadable file and refused value
                at once.
        """
        source = EnvironmentSource(cls, os.environ if environ is None else environ)
        values = source()
        problems = list(source.problems)
        try:
            settings = cls(**values)
        except ValidationError as refused:
            problems += _refusals(cls, refused, passing=source.unreadable)
        if problems:
            lines = (f"  - {problem}" for problem in problems)
            raise SettingsInvalid("\n".join(["The settings cannot be used.", *lines]))
        return settings

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        bare = host.removeprefix("[").removesuffix("]")
        try:
            return str(ipaddress.ip_address(bare))
        except ValueError:
            if not _HOST_NAME.fullmatch(host):
                raise ValueError("must be an IP address or a host name") from None
            return host

    @field_validator("path_prefix")
    @classmethod
    def _prefix_is_a_path(cls, prefix: str) -> str:
        first, *segments = prefix.removesuffix("/").split("/")
        if first or not all(
            _PREFIX_SEGMENT.fullmatch(s) and s.strip(".") for s in segments
        ):
            raise ValueError(
                "must be a path such as /broker: a slash first, then letters,"
                " digits and . _ ~ -"
            )
        return "/".join([first, *segments])

    @field_validator("public_url")
    @classmethod
    def _public_url_is_complete(cls, url: str, info: ValidationInfo) -> str:
        if not url:
            return _address(info.data)
        if not _is_public(url):
            raise ValueError("")
        return url.rstrip("/")

    @field_validator("basic_user")
    @classmethod
    def _user_fits_the_header(cls, user: str | None) -> str | None:
        """RFC 7617: no colon in a user-id, no control characters."""
        if user is not None and (not user or ":" in user or _CONTROL.search(user)):
            raise ValueError("")
        return user

    @field_validator("basic_password")
    @classmethod
    def _user_and_password_come_together(
        cls, password: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if "basic_user" not in info.data:  # refused already, on its own line
            return password
        if (info.data["basic_user"] is None) != (password is None):
            raise ValueError("must be set together with OSBKIT_BASIC_USER")
        if password is not None and _CONTROL.search(password.get_secret_value()):
            raise ValueError("must hold no control characters")  # RFC 7617
        return password

    @field_validator("bearer_token")
    @classmethod
    def _token_fits_the_header(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not re.fullmatch(
            r"[\x21-\x7e]+", token.get_secret_value()
        ):
            raise ValueError("")
        return token

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_in_any_case(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level


class EnvironmentSource(PydanticBaseSettingsSource):
    """OSBKIT_* of a mapping, and the files that OSBKIT_*_FILE name.

    pydantic-settings' own source lets unknown names pass and knows no _FILE.

    Attributes:
        problems: what could not be read, one line each; filled by the call.
        unreadable: the fields that a problem already speaks of.
    """

    def __init__(self, settings: type[BaseSettings], environ: Mapping[str, str]):
        super().__init__(settings)
        self._given = {
            name: value
            for name, value in environ.items()
            if name.startswith(PREFIX) and value and not _injected(name, value)
        }
        self.problems: list[str] = []
        self.unreadable: set[str] = set()

    def __call__(self) -> dict[str, Any]:
        self.problems = list(self._strangers())
        values: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                values[key] = value
        return values

    def get_field_value(
        self, field: FieldInfo, field_name: str
    ) -> tuple[str | None, str, bool]:
        try:
            return self._text_of(PREFIX + field_name.upper(), field), field_name, False
        except ValueError as error:
            self.problems.append(str(error))
            self.unreadable.add(field_name)
            return None, field_name, False

    def _text_of(self, name: str, field: FieldInfo) -> str | None:
        value = self._given.get(name)
        path = self._given.get(name + "_FILE") if _is_secret(field) else None
        if path is not None and value is not None:
            raise ValueError(f"{name} and {name}_FILE are both set: keep one.")
        if path is None:
            if value is not None and not _is_utf8(value):
                raise ValueError(f"{name} must be UTF-8 text.")
            return value
        try:
            return _secret_of(Path(path))
        except (OSError, ValueError) as error:
            # The path stays unsaid: it may be a secret put into the wrong variable.
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ValueError(
                f"{name}_FILE must name a file that holds the secret: {why}."
            ) from None

    def _strangers(self) -> Iterator[str]:
        known = [name.removeprefix(PREFIX) for name in known_names(self.settings_cls)]
        for name in sorted(self._given):
            if name.removeprefix(PREFIX) in known:
                continue
            near = get_close_matches(name.removeprefix(PREFIX), known, n=1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else "remove it."
            yield f"{name} is no setting of this version: {hint}"


def known_names(settings: type[BaseSettings] = Settings) -> list[str]:
    """Every name that the environment may hold, the _FILE ones included."""
    names = []
    for field_name, field in settings.model_fields.items():
        names.append(PREFIX + field_name.upper())
        if _is_secret(field):
            names.append(names[-1] + "_FILE")
    return names


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _is_utf8(text: str) -> bool:
    """False for the lone surrogates that stand for undecodable bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _injected(name: str, value: str) -> bool:
    if _INJECTED.fullmatch(name):
        return True
    return bool(_INJECTED_PORT.fullmatch(name) and _PORT_LINK.match(value))


def _secret_of(path: Path) -> str:
    """The text of a file, less one trailing line break."""
    with path.open("rb") as file:
        content = file.read(SECRET_FILE_BYTES + 1)
    if len(content) > SECRET_FILE_BYTES:
        raise ValueError(f"it is longer than {SECRET_FILE_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("it is empty")
    return text


def _is_public(url: str) -> bool:
    if _CONTROL.search(url) or " " in url:
        return False
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        return (
            usable
            and parts.port != 0  # the property raises ValueError above 65535
            and "@" not in parts.netloc
            and not (parts.query or parts.fragment)
        )
    except ValueError:
        return False


def _address(data: Mapping[str, Any]) -> str:
    """Where others on this machine reach the broker; a wildcard is no address."""
    host = data.get("host", "")
    host = _LOOPBACKS.get(host, host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{data.get('port')}{data.get('path_prefix', '')}"


def _refusals(
    settings: type[BaseSettings], refused: ValidationError, passing: Container[str]
) -> Iterator[str]:
    """One line per refused value, in our words: pydantic's may repeat the value."""
    for error in refused.errors(include_input=False, include_url=False):
        field_name = str(error["loc"][0])
        said = str(error.get("ctx", {}).get("error", ""))
        what = said or f"must be {settings.model_fields[field_name].description}"
        if field_name not in passing:
            yield f"{PREFIX}{field_name.upper()} {what}."
