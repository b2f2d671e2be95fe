"""What a message is: its parts, its delivery tag, the history that travels with it."""

import json
import time
from typing import Any

from shared.broker.keys import TAKEN

# The header in which a message carries the workers that were lost with it.
HISTORY = "lost_workers"
UNREADABLE = "it cannot be decoded"


def tag(owner: str, number: int) -> str:
    """The delivery tag of a message: whose it is, and its number there."""
    return f"{TAKEN}{owner}#{number}"


def parse_tag(delivery_tag: str) -> tuple[str, str] | None:
    """The key and the field of a message that was taken; None for another transport's."""
    key, mark, number = delivery_tag.rpartition("#")
    return (key, number) if mark and key.startswith(TAKEN) else None


def parse(text: bytes) -> dict[str, Any] | None:
    """A message as kombu wrote it, or None for anything else."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    parts = (message.get("properties"), message.setdefault("headers", {}))
    return message if all(isinstance(part, dict) for part in parts) else None


def count_lost(message: dict[str, Any], worker: str) -> list[dict[str, Any]]:
    """Add to a message's history that a worker was lost with it; the history."""
    headers = message["headers"]
    history = headers.get(HISTORY)
    headers[HISTORY] = [
        *(history if isinstance(history, list) else []),
        {"worker": worker, "at": round(time.time(), 3)},
    ]
    return list(headers[HISTORY])
