"""The task that calls a plain function: what ``producer send module:function`` sends."""

import inspect
from typing import Any

from shared.app import app
from shared.calls import references, running
from shared.tasks.contracts import FUNCTION


@app.task(name=FUNCTION, bind=True)
def function(task: Any, reference: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call the function that a reference names; what it returns is the task's result."""
    task.request.task = reference  # the name that is kept with the result
    value = references.resolve_function(reference)(*args, **kwargs)
    return running.wait_for(value) if inspect.iscoroutine(value) else value
