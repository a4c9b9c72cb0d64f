"""A local HTTP server that can answer like a busy or broken one."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Server:
    """Serves ``files``; each of ``answers`` is a status, or ``"stop N"`` to send N bytes, first."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.answers: list[int | str] = []
        self.requests: list[str | None] = []  # the Range of each
        self.knows_ranges = True
        self.retry_after = ""
        self.url = ""


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server inside a with block; its address is ``url``."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.requests.append(asked)
            answer = state.answers.pop(0) if state.answers else 200
            content = state.files.get(self.path)
            if content is None or (isinstance(answer, int) and answer != 200):
                self.send_response(404 if content is None else int(answer))
                if state.retry_after:
                    self.send_header("Retry-After", state.retry_after)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=")[:-1]) if asked and state.knows_ranges else 0
            if start >= len(content) and start:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = len(content) if answer == 200 else int(str(answer).removeprefix("stop "))
            self.wfile.write(content[start:stop])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{listener.server_port}/"
        yield state
        listener.shutdown()
        thread.join()
