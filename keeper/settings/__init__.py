"""The only reader of environment and configuration files. Everything else receives plain typed arguments.

A configuration is TOML; environment variables (``KEEPER_…``, ``__`` between levels) win over the file. Unknown keys are
refused with the nearest known one. Decimals are text or TOML numbers, read as exact decimals.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from keeper.core.errors import ConfigError
from keeper.core.units import Address, address_from_hex
from keeper.settings.environment import refuse_unknown, variable_of
from keeper.settings.errors import first_problem, one_line
from keeper.settings.fields import TABLE, Exact, RpcUrl, WsUrl, as_list, exact
from keeper.settings.presets import AddressText, Preset, load_preset
from keeper.settings.rails import Rails, SharedRails
from keeper.settings.relays import Relays
from keeper.settings.routes import Objective, Routes
from keeper.settings.signing import Signer, refuse_shared_keys

Mode = Literal["dry", "live"]
PriceAction = Literal["warn", "refuse"]


def _known_preset(name: str) -> str:
    try:
        load_preset(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return name


PresetName = Annotated[str, AfterValidator(_known_preset)]
TargetHealth = Annotated[Decimal, BeforeValidator(exact), Field(ge=1, le=10)]


class _Model(BaseModel):
    model_config = TABLE


class Policy(_Model):
    """What to restore, and what to leave alone."""

    target: TargetHealth | None = None
    """Target health; default min(1.05, average LT ÷ average LTV), at least 1.005."""
    target_by_emode: dict[int, TargetHealth] = {}
    target_by_asset: dict[AddressText, TargetHealth] = {}
    most_calls: int = Field(3, ge=1, le=5)
    """Longest sequence of calls for one borrower; no longer than `signer.most_in_flight`."""
    min_profit: Exact = Decimal(0)
    """Least profit of an order in whole units of the base currency (USD), gas paid."""
    min_repay: Exact = Decimal(0)
    """Plans that repay less than this (base currency, whole units) are left alone."""
    only_borrowers: list[AddressText] | None = None
    skip_borrowers: list[AddressText] = []
    skip_assets: list[AddressText] = []

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, given: Any) -> Any:
        if isinstance(given, dict) and "max_price_age_s" in given:
            raise ValueError(
                'max_price_age_s has moved: write max_age_s (and action = "refuse") in the chain\'s table prices instead'
            )
        return given


class AssetPrices(_Model):
    """What is asked of one asset's price, where it is not what the chain's table says."""

    action: PriceAction | None = None
    max_age_s: int | None = Field(None, ge=1)
    max_jump_percent: Exact | None = None


class Prices(_Model):
    """What is asked of prices beyond what the protocol does. They are always the market's own oracle's."""

    action: PriceAction = "warn"
    """warn: tell it, once for as long as it lasts; refuse: and liquidate nobody who holds or owes the asset meanwhile."""
    max_age_s: int = Field(90_000, ge=1)
    """Since the last update of the feeds behind a price: their heartbeat and some slack. Most have one of 24 h or less."""
    max_jump_percent: Exact = Decimal(20)
    """Largest step between two heads."""
    by_asset: dict[AddressText, AssetPrices] = {}
    sequencer_feed: AddressText | None = None
    """The uptime feed of a chain with one sequencer: 0 while it is up."""
    sequencer_grace_s: int = Field(3_600, ge=0)
    """After it has come back."""


class Fees(_Model):
    """EIP-1559 fees."""

    max_fee_gwei: Exact = Decimal(100)
    """Hard cap on the whole fee per gas."""
    priority_percentile: int = Field(50, ge=0, le=100)
    """Which percentile of recent priority fees to pay."""
    priority_profit_share: Annotated[Decimal, BeforeValidator(exact), Field(ge=0, le=1)] = Decimal(0)
    """So much of an order's profit above the least is bid as priority on top of that, within the cap."""


class Deadlines(_Model):
    """Seconds that one exchange may take, by what it asks for."""

    head: float = Field(2.0, gt=0)
    state: float = Field(10.0, gt=0)
    logs: float = Field(20.0, gt=0)
    simulate: float = Field(10.0, gt=0)
    send: float = Field(10.0, gt=0)


class Rpc(_Model):
    """Manners towards the node."""

    requests_per_second: float | None = Field(None, gt=0)
    batch: bool = True
    """Use JSON-RPC batches where that saves requests."""
    log_span: int = Field(10_000, ge=1)
    """Widest block range of one log query to begin with; it adapts downwards by itself."""
    timeout_s: float = Field(20.0, gt=0)
    """Bounds every deadline."""
    deadlines_s: Deadlines = Deadlines()
    hedged_share: float = Field(0.05, ge=0, le=1)
    """At most this share of reads is put to a second endpoint when the first takes unusually long."""
    agreement: int = Field(1, ge=1, le=5)
    """So many endpoints of different hosts must say the same of an order's simulation before it is sent."""
    poll_s: float | None = Field(None, gt=0)
    """How often to ask for a new head where none is announced; default half the block time, at most 2 s."""
    quiet_blocks: float = Field(2.0, ge=1)
    """After so many block times (at least 2 s) without a new head it is asked for, and every endpoint for its own."""


class Chain(_Model):
    """One chain: a node and the markets on it."""

    rpc_url: Annotated[list[RpcUrl], BeforeValidator(as_list), Field(min_length=1)]
    """One URL or several in order of preference. URLs are treated as secrets."""
    ws_url: Annotated[list[WsUrl], BeforeValidator(as_list)] = []
    """WebSocket URLs that announce heads, in order of preference; secrets too. Without them and `ipc_path` heads are polled."""
    ipc_path: Path | None = None
    """A node's IPC socket, tried before `ws_url`."""
    preset: PresetName | None = None
    """A market of `config/chains` by its name, or a file of the same form by a path that ends in `.toml`."""
    addresses_provider: Annotated[list[AddressText], BeforeValidator(as_list)] = []
    """PoolAddressesProvider of each market; a preset brings its own."""
    chain_id: int | None = None
    live_chain_id: int | None = Field(None, ge=1)
    """The chain's id once more: then live mode may spend real money on it. Shipped testnets and the devnet need none."""
    block_time_s: float | None = Field(None, gt=0)
    """Default: the preset's, else measured over the last blocks."""
    inclusion_blocks: int = Field(2, ge=1, le=50)
    """A plan must hold for this many block times."""
    start: Literal["snapshot", "logs"] = "snapshot"
    """How the book is built when there is none to load: borrowers from their Borrow logs and rows read at the head, or every
    log since `start_block` replayed. Both give the same book."""
    start_block: int | None = Field(None, ge=0)
    """First block to read logs from; default: where the addresses provider was deployed, found by itself."""
    wrapped_native: AddressText | None = None
    """The reserve that prices the native coin (gas); default the preset's."""
    keeper_address: AddressText | None = None
    """Who liquidates in a dry run; default a placeholder."""
    max_head_age_s: float | None = Field(None, gt=0)
    """Older heads are not acted on (`stale_head`); default ten block times, at least 60 s."""
    reorg_depth: int = Field(64, ge=1, le=4096)
    """Reorgs of so many blocks are unwound exactly; after a deeper one the book is built again from a saved one."""
    executor: AddressText | None = None
    """The operator's own executor contract on this chain; `keeper executor deploy` makes one."""
    executor_owner: AddressText | None = None
    """Whose it must be, if not the (first) signer's: then the signers only operate it."""
    signer: Signer | None = None
    signers: list[Signer] = []
    """Several instead of one, each with a key, nonces and money of its own; orders go to whoever has the most room."""
    rails: Rails = Rails()
    relays: Relays | None = None
    routes: Routes | None = None
    """Where collateral is sold; without it the keeper repays from what it holds and keeps the collateral."""
    objective: Objective = Objective()
    policy: Policy = Policy()
    prices: Prices = Prices()
    fees: Fees = Fees()
    rpc: Rpc = Rpc()

    @model_validator(mode="after")
    def _owns_something(self) -> Chain:
        if self.executor_owner is not None and self.executor is None:
            raise ValueError("executor_owner says whose executor it must be; there is no executor")
        return self

    @model_validator(mode="after")
    def _has_different_signers(self) -> Chain:
        if self.signer is not None and self.signers:
            raise ValueError("signer and signers: write one of them, a table signer for one or [[signers]] for several")
        refuse_shared_keys(self.signers)
        return self

    @model_validator(mode="after")
    def _can_do_what_it_is_for(self) -> Chain:
        if self.objective.kind != "restore" and not self.carried_by_executor:
            raise ValueError(
                f'objective "{self.objective.kind}" needs an executor and the table routes (docs/EXECUTOR.md): set both, or'
                " take the objective out"
            )
        return self

    @model_validator(mode="after")
    def _has_market(self) -> Chain:
        if not self.addresses_provider and self.preset is None:
            raise ValueError("needs addresses_provider or preset")
        return self

    @model_validator(mode="after")
    def _offers_within_the_window(self) -> Chain:
        if self.relays is not None:
            self.relays.blocks_of(self.inclusion_blocks)
        return self

    @property
    def signing(self) -> Mapping[str, Signer]:
        """Everyone who signs, in order, by the place in the chain's table."""
        if self.signer is not None:
            return {"signer": self.signer}
        return {f"signers.{place}": signer for place, signer in enumerate(self.signers)}

    @property
    def executor_address(self) -> Address | None:
        return None if self.executor is None else to_address(self.executor)

    @property
    def carried_by_executor(self) -> bool:
        """Otherwise the keeper repays from what the signer holds."""
        return self.executor is not None and self.routes is not None

    def load_preset(self) -> Preset | None:
        return load_preset(self.preset) if self.preset is not None else None


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix="KEEPER_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    mode: Mode = "dry"
    """Live also needs ``--live`` on the command line."""
    store: Path = Path("keeper.db")
    health_port: int = Field(8790, ge=0, le=65535)
    """Loopback port of /health; 0 turns it off."""
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    alerts: Annotated[list[SecretStr], BeforeValidator(as_list)] = []
    """Apprise URLs."""
    anvil: Path | None = None
    """anvil binary for --fork; default: PATH, else the demo's install."""
    rails: SharedRails = SharedRails()
    chains: dict[str, Chain] = Field(min_length=1)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (_PlainEnvironment(settings_cls), init_settings, TomlConfigSettingsSource(settings_cls))


class _PlainEnvironment(EnvSettingsSource):
    """Where a list or table is wanted, a variable may hold JSON; any other text is taken as it is."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class _ArgumentSettings(Settings):
    """Settings without file or environment."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load_settings(path: Path) -> Settings:
    """Read a configuration file. Raises `ConfigError` with one line: what, where, how to fix it."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file; copy config/keeper.example.toml or pass --config")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    refuse_unknown(os.environ, Settings)
    try:
        return FromFile()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not valid TOML: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        variable = variable_of(first_problem(error)[1], os.environ)
        raise ConfigError(f"{variable or path}: {one_line(error, Settings)}") from None
    except SettingsError as error:
        raise ConfigError(f"environment: {error}") from None


def settings_from_arguments(rpc_url: str, addresses_provider: str, **more: Any) -> Settings:
    """Settings for one market without a file; the environment is not consulted."""
    chain = {"rpc_url": rpc_url, "addresses_provider": addresses_provider}
    try:
        return _ArgumentSettings(chains={"chain": Chain.model_validate(chain)}, **more)
    except ValidationError as error:
        first, (field, *_) = first_problem(error)
        option = {"rpc_url": "--rpc", "addresses_provider": "--addresses-provider"}[str(field)]
        raise ConfigError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None


def to_address(text: str) -> Address:
    """A validated address of the settings as raw bytes."""
    return address_from_hex(text)
