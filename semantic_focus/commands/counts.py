"""Numbers on the command line."""

import argparse

MOST_PROCESSES = 1024


def process_count(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f'"{text}": give a number of processes, 1 to {MOST_PROCESSES}')
    return int(text)
