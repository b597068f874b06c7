"""A compiled contract: its interface, its code, and the encoding of what is sent to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from keeper.core.units import Address
from keeper.devnet.errors import DevnetError

Abi = list[dict[str, Any]]
Links = Mapping[str, Sequence[int]]
"""Library name to the byte offsets in the code where its address belongs."""


@dataclass(frozen=True)
class Function:
    """One function of an interface."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, args: Sequence[Any]) -> bytes:
        return self.selector + encode(self.inputs, args)

    def decode(self, output: bytes) -> Any:
        """The one output, or the tuple of several. Addresses come back as lower-case text."""
        values = decode(self.outputs, output)
        return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class Artifact:
    """A contract as the compiler left it."""

    name: str
    abi: Abi
    bytecode: str
    """Creation code as hex without 0x; library addresses are placeholders."""
    runtime: str
    """Deployed code as hex without 0x (only meaningful without immutables and libraries)."""
    links: Links = field(default_factory=dict)

    @cached_property
    def functions(self) -> dict[str, Function]:
        """By signature, and by bare name where that is unique."""
        found: dict[str, Function] = {}
        names: dict[str, list[Function]] = {}
        for item in self.abi:
            if item["type"] != "function":
                continue
            inputs = tuple(abi_type(entry) for entry in item["inputs"])
            signature = f"{item['name']}({','.join(inputs)})"
            outputs = tuple(abi_type(entry) for entry in item["outputs"])
            function = Function(item["name"], keccak(text=signature)[:4], inputs, outputs)
            found[signature] = function
            names.setdefault(function.name, []).append(function)
        return found | {name: same[0] for name, same in names.items() if len(same) == 1}

    def function(self, name: str) -> Function:
        try:
            return self.functions[name]
        except KeyError:
            raise DevnetError(f"{self.name} has no single function {name!r}") from None

    def creation_code(self, args: Sequence[Any] = (), libraries: Mapping[str, Address] | None = None) -> bytes:
        """Creation code with libraries linked and constructor arguments appended."""
        code = bytearray(bytes.fromhex(self._without_placeholders()))
        for library, offsets in self.links.items():
            if libraries is None or library not in libraries:
                raise DevnetError(f"{self.name} needs the library {library}")
            for offset in offsets:
                code[offset : offset + 20] = libraries[library]
        constructor: Abi = [item for item in self.abi if item["type"] == "constructor"]
        inputs = [abi_type(entry) for item in constructor for entry in item["inputs"]]
        return bytes(code) + encode(inputs, args)

    def _without_placeholders(self) -> str:
        code = self.bytecode
        for offsets in self.links.values():
            for offset in offsets:
                code = code[: 2 * offset] + "0" * 40 + code[2 * offset + 40 :]
        return code


def abi_type(entry: Mapping[str, Any]) -> str:
    """The canonical type text of an ABI entry, tuples spelt out."""
    kind: str = entry["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(abi_type(part) for part in entry["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def link_offsets(references: Mapping[str, Mapping[str, Iterable[Mapping[str, int]]]]) -> dict[str, list[int]]:
    """Flatten a compiler's link references (by file, then library) to offsets by library name."""
    flat: dict[str, list[int]] = {}
    for libraries in references.values():
        for library, places in libraries.items():
            flat.setdefault(library, []).extend(place["start"] for place in places)
    return flat
