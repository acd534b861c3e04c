"""Playing the outside of a client's flow: each effect is answered from a script, without a connection or a clock."""

from __future__ import annotations

import json
from typing import Any

from longshore.client.effects import Effect, Emit, Flow, Pause, Reply


def play(flow: Flow[Any], *script: Any) -> tuple[Any, list[Effect], list[Any]]:
    """What the flow returned, the effects it asked for (pauses and emits left out), and what it emitted.

    script: the answers in order; an exception is thrown in instead.
    """
    answers, asked, emitted = list(script), [], []
    try:
        effect = next(flow)
        while True:
            if isinstance(effect, Emit):
                emitted.append(effect.item)
                effect = flow.send(None)
            elif isinstance(effect, Pause):
                effect = flow.send(None)
            else:
                asked.append(effect)
                assert answers, f"the script has no answer to {effect}"
                answer = answers.pop(0)
                effect = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
    except StopIteration as end:
        assert not answers, f"the flow ended before {answers}"
        return end.value, asked, emitted


def reply(body: Any = None, status: int = 200, **headers: str) -> Reply:
    return Reply(status, {key.replace("_", "-"): value for key, value in headers.items()}, json.dumps(body).encode())
