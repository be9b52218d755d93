"""Finds the data directory and the configuration that a command or a program names; it creates neither."""

from __future__ import annotations

from pathlib import Path

from swarmharness.node.config import Config, load_config
from swarmharness.node.data_dir import DataDir, absolute


def config_path(directory: DataDir, option: Path | None) -> Path | None:
    """Return the file to read: the one that was named, else the data directory's own if it exists, else None."""
    if option is not None:
        return absolute(option)
    try:
        return directory.config_file if directory.config_file.exists() else None
    except OSError:
        return directory.config_file  # reading it says what is wrong


def read_settings(data_dir: Path | None, config: Path | None) -> tuple[DataDir, Config]:
    """Return the data directory and the configuration in force."""
    directory = DataDir.at(data_dir)
    return directory, load_config(config_path(directory, config))
