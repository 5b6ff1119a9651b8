"""TOML and presets <-> the dataclasses of the wings below. Every message names file, line and key."""
