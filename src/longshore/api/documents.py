"""The API's descriptions as they are served."""

from __future__ import annotations

from functools import cached_property

from longshore.api.wire import dumps


class Documents:
    """Both as bytes, made at the first request for them; what makes them is imported then: few ask, and all start."""

    def __init__(self, version: str) -> None:
        self._version = version

    @cached_property
    def openapi(self) -> bytes:
        from longshore.api.openapi import openapi

        return dumps(openapi(self._version))

    @cached_property
    def asyncapi(self) -> bytes:
        from longshore.api.openapi import asyncapi

        return dumps(asyncapi(self._version))
