"""Flask: send a task, look at its result. See docs/web.md.

flask --app examples.web.flask_app run
"""

from flask import Flask, request
from kombu.exceptions import OperationalError

from examples.own_tasks import count_words
from shared.errors import BrokerUnavailable

web = Flask(__name__)


@web.post("/words")
def send():
    match request.get_json():
        case {"text": str(text)}:
            task = count_words.delay(text)
            return {"id": task.id}, 202, {"Location": f"/words/{task.id}"}
    return {"error": 'send {"text": "…"}'}, 400


@web.get("/words/<uuid:task_id>")
def look(task_id):
    task = count_words.AsyncResult(str(task_id))
    state = task.state
    return {"state": state, "result": task.result if state == "SUCCESS" else None}


@web.errorhandler(OperationalError)  # while sending
@web.errorhandler(BrokerUnavailable)  # while reading a result
def unavailable(error):
    return {"error": "the queue is unavailable, try again later"}, 503
