"""Django: send a task, look at its result. See docs/web.md.

python -m examples.web.django_app runserver
"""

import json

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponseBadRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST
from kombu.exceptions import OperationalError

from examples.own_tasks import count_words
from shared.errors import BrokerUnavailable

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"])


def or_503(view):
    def answer(*args, **kwargs):
        try:
            return view(*args, **kwargs)
        except (OperationalError, BrokerUnavailable):  # while sending, while reading a result
            return JsonResponse({"error": "the queue is unavailable, try again later"}, status=503)

    return answer


@require_POST
@or_503
def send(request):
    try:
        text = str(json.loads(request.body)["text"])
    except (ValueError, TypeError, KeyError):
        return HttpResponseBadRequest()
    task = count_words.delay(text)
    return JsonResponse({"id": task.id}, status=202, headers={"Location": f"/words/{task.id}"})


@require_GET
@or_503
def look(request, task_id):
    task = count_words.AsyncResult(str(task_id))
    state = task.state
    return JsonResponse({"state": state, "result": task.result if state == "SUCCESS" else None})


urlpatterns = [path("words", send), path("words/<uuid:task_id>", look)]

if __name__ == "__main__":
    execute_from_command_line()
