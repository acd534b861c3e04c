import inspect

import pytest

from longshore import errors as server
from longshore.client import API_ERRORS, ApiError, AsyncLongshore, Longshore
from longshore.client.errors import api_error, error_of_envelope


def codes_of_the_server():
    kinds = [cls for _, cls in inspect.getmembers(server, inspect.isclass) if issubclass(cls, server.LongshoreError)]
    return {cls.code for cls in kinds}


def test_every_code_of_the_server_has_a_class_here():
    assert codes_of_the_server() <= set(API_ERRORS)


@pytest.mark.parametrize("cls", [c for _, c in inspect.getmembers(server, inspect.isclass)
                                 if issubclass(c, server.LongshoreError) and c.__name__ != "LeaseLost"])  # fmt: skip
def test_default_statuses_are_those_of_the_server(cls):
    both = {"DEPENDENCY_FAILED"}
    assert cls.code in both or api_error(cls.code, "").status == cls.status


def test_a_code_from_the_future_is_still_an_api_error():
    error = error_of_envelope({"error": {"code": "QUANTUM_FAILED", "message": "spooky"}}, status=418)
    assert isinstance(error, ApiError)
    assert (error.status, error.code, str(error), error.details) == (418, "QUANTUM_FAILED", "spooky", {})


def public(cls):
    return {name: member for name, member in inspect.getmembers(cls, inspect.isfunction) if name[0] != "_"}


def test_both_clients_have_the_same_methods():
    assert public(Longshore).keys() == public(AsyncLongshore).keys()


@pytest.mark.parametrize("name", sorted(public(Longshore)))
def test_a_method_takes_the_same_arguments_in_both_clients(name):
    one, other = (inspect.signature(public(cls)[name]) for cls in (Longshore, AsyncLongshore))
    assert one.parameters == other.parameters


@pytest.mark.parametrize("name", sorted(public(Longshore)))
def test_a_method_is_documented_alike_in_both_clients(name):
    assert public(Longshore)[name].__doc__ == public(AsyncLongshore)[name].__doc__
