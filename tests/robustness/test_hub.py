"""Without a network: what is asked of the Hub ends with one message, at once."""

from __future__ import annotations

import time

import pytest
from huggingface_hub import constants

from deltaspace.errors import DeltaspaceError
from deltaspace.storage import hub_answers, model_folder
from deltaspace.tasks import load_task

datasets = pytest.importorskip("datasets")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """A Hub where nobody listens, asked as by a user who has not said that there is none; nothing in the cache."""
    slept = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", slept.append)
    hub_answers.cache_clear()
    yield slept
    hub_answers.cache_clear()


def test_a_data_set(no_network):
    with pytest.raises(DeltaspaceError, match=r"hub:nobody/no: the split 'train' cannot be loaded(.|\n)*the Hub does not answer"):
        load_task("hub:nobody/no")
    assert not no_network, "it waited to ask again"
    assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


def test_a_model(no_network):
    with pytest.raises(DeltaspaceError, match=r"nobody/no cannot be fetched from the Hugging Face Hub(.|\n)*does not answer"):
        model_folder("nobody/no")
    assert not no_network


def test_a_server_that_refuses_answers(monkeypatch, no_network):
    import urllib.error
    import urllib.request

    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "no", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert hub_answers()


def test_who_says_that_there_is_no_network_is_believed(monkeypatch, no_network):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("it was asked"))
    assert not hub_answers()
