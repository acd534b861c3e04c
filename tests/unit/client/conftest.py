import pytest

from support.fake_manager import FakeManager


@pytest.fixture
def manager():
    fake = FakeManager()
    fake.start()
    yield fake
    fake.stop()
