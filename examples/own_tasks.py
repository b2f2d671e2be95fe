"""Tasks of your own: copy this file, change the functions, restart the workers.

producer tasks
producer send count_words "to be or not to be" --wait
producer send resize photo.jpg --width 200 --wait

Workers find the tasks of every module that TASK_MODULES names; this folder is one of them.
"""

from collections import Counter

from shared.app import app


@app.task
def count_words(text: str, at_least: int = 1) -> dict[str, int]:
    """Count how often each word stands in a text."""
    counts = Counter(text.lower().split())
    return {word: count for word, count in counts.items() if count >= at_least}


@app.task(autoretry_for=(ConnectionError,), retry_backoff=True, max_retries=3)
def resize(photo: str, width: int = 800, to: str = "") -> list[int]:
    """Make a picture smaller, keep it in the file `to`; needs Pillow (see docs/own-tasks.md)."""
    from PIL import Image  # noqa: PLC0415 - so that the other task works without it

    with Image.open(photo) as picture:
        picture.thumbnail((width, picture.height))
        picture.save(to or photo)
        return list(picture.size)
