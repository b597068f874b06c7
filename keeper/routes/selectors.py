"""Selectors of the functions that are read. A test derives them again from `contracts_abi`."""

GET_POOL = bytes.fromhex("1698ee82")
SLOT0 = bytes.fromhex("3850c7bd")
LIQUIDITY = bytes.fromhex("1a686502")
TICK_BITMAP = bytes.fromhex("5339c296")
TICKS = bytes.fromhex("f30dba93")
TICK_SPACING = bytes.fromhex("d0c93a7c")
GET_PAIR = bytes.fromhex("e6a43905")
GET_RESERVES = bytes.fromhex("0902f1ac")
