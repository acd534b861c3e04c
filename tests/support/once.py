"""What "a hook runs exactly once" means where anything may be killed at any moment."""

from __future__ import annotations

from collections.abc import Sequence


def ran_as_it_may(times: Sequence[int], step: str | None, fails_at: int | None = None) -> bool:
    """Whether the hooks of one phase of one rollout ran as often as they may.

    times     how often each began, in the order of the spec
    step      status of the step that runs them (completed | failed | running); None: never begun, or there is no such
              step, as in a restart or a change of scale
    fails_at  index of the one that fails by itself

    completed: each exactly once, whatever was killed meanwhile. failed, which an interrupted step is too, or running:
    each once or not at all, and none after one that did not run, or that failed: nobody tries again. None: not at all.
    """
    if step is None:
        return not any(times)
    if step == "completed":
        return all(count == 1 for count in times)
    in_order = max(times, default=0) <= 1 and list(times) == sorted(times, reverse=True)
    return in_order and (fails_at is None or not any(times[fails_at + 1 :]))
