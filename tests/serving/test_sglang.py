"""SGLang's client against a server that answers as SGLang does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deltaspace.errors import DeltaspaceError
from deltaspace.serving import LoraFolders, SglangServer
from tests.serving.test_lora_folders import space


@pytest.fixture
def server():
    """A server that keeps LoRAs by name, refuses a second one of a name, and those called `large`."""
    loaded, keys = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            keys.append(self.headers.get("Authorization"))
            name, error = said["lora_name"], None
            if self.path == "/load_lora_adapter":
                error = "already loaded" if name in loaded else "rank 64 > 16" if name == "large" else None
                if error is None:
                    loaded[name] = said["lora_path"]
            elif self.path == "/unload_lora_adapter":
                error = None if loaded.pop(name, None) else "not loaded"
            else:
                self.send_error(404)
                return
            body = json.dumps({"success": error is None, "error_message": error or "", "loaded_adapters": loaded}).encode()
            self.send_response(200 if error is None else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", loaded, keys
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_task_is_pushed_and_taken_back(server, tmp_path):
    url, loaded, keys = server
    space(tmp_path)
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
    client = SglangServer(url + "/", api_key="secret")
    folder = client.load(folders, "x")
    assert loaded == {"x": str(folder.path)}
    client.load(folders, "y", "x")
    assert loaded["x"] == str(folders.find("y").path)
    assert client.unload("x") and not client.unload("x") and loaded == {}
    assert set(keys) == {"Bearer secret"}


def test_what_it_refuses_is_told(server, tmp_path):
    url, _, _ = server
    space(tmp_path)
    folders = LoraFolders(tmp_path / "space", cache=tmp_path / "cache")
    with pytest.raises(DeltaspaceError, match=r"does not load large(.|\n)*rank 64 > 16"):
        SglangServer(url).load(folders, "x", "large")
    with pytest.raises(DeltaspaceError, match="has no task 'nothing'"):
        SglangServer(url).load(folders, "nothing")
    with pytest.raises(DeltaspaceError, match="answers 404"):
        SglangServer(url + "/elsewhere").unload("x")
    with pytest.raises(DeltaspaceError, match="does not answer"):
        SglangServer("http://127.0.0.1:9").unload("x")
    with pytest.raises(DeltaspaceError, match="no server's address"):
        SglangServer("localhost")
