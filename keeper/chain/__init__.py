"""JSON-RPC over aiohttp: heads, log ranges, pinned reads, fees. The only room that talks to nodes."""
