"""FastAPI: send a task, look at its result. See docs/web.md.

uvicorn examples.web.fastapi_app:web
"""

from typing import Annotated
from uuid import UUID

from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from kombu.exceptions import OperationalError

from examples.own_tasks import count_words
from shared.errors import BrokerUnavailable

web = FastAPI()


# `def`, not `async def`: the calls wait for Redis, and FastAPI runs `def` in a thread.
@web.post("/words", status_code=202)
def send(text: Annotated[str, Body(embed=True)], response: Response):
    task = count_words.delay(text)
    response.headers["Location"] = f"/words/{task.id}"
    return {"id": task.id}


@web.get("/words/{task_id:uuid}")
def look(task_id: UUID):
    task = count_words.AsyncResult(str(task_id))
    state = task.state
    return {"state": state, "result": task.result if state == "SUCCESS" else None}


@web.exception_handler(OperationalError)  # while sending
@web.exception_handler(BrokerUnavailable)  # while reading a result
def unavailable(request: Request, error: Exception):
    return JSONResponse({"error": "the queue is unavailable, try again later"}, 503)
