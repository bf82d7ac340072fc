"""S3 on this machine: moto's server, which can fail, be slow or refuse writes."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import make_server

BUCKET = "videos"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",  # no request leaves this machine
}  # fmt: skip


@dataclass
class S3Server:
    """A store with one bucket, and what is wrong with it."""

    fail_every: int = 0  # n: every n-th call ends in an error 500, by turns before and after it has its effect
    delay: float = 0.0  # seconds that each call takes longer
    read_only: bool = False  # writes are refused
    calls: int = 0
    writes: list[str] = field(default_factory=list)  # methods and paths
    endpoint: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wrap(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """`application` (WSGI) with the faults of this store."""

        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            with self.lock:
                self.calls += 1
                turn = self.calls // self.fail_every if self.fail_every and self.calls % self.fail_every == 0 else 0
            time.sleep(self.delay)
            method = environ["REQUEST_METHOD"]
            if method in ("PUT", "POST", "DELETE"):
                self.writes.append(f"{method} {environ['PATH_INFO']}")
                if self.read_only:
                    return self._refuse(start_response, "403 Forbidden", "AccessDenied")
            if turn % 2:
                return self._refuse(start_response, "500 Internal Server Error", "InternalError")
            if turn:
                list(application(environ, lambda *_: None))  # the effect, without the answer
                return self._refuse(start_response, "500 Internal Server Error", "InternalError")
            return application(environ, start_response)

        return call

    def _refuse(self, start_response: Callable[..., Any], status: str, code: str) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]


@contextmanager
def s3_server(**faults: Any) -> Iterator[S3Server]:
    """Run a store with an empty bucket; the caller's environment must have CREDENTIALS and AWS_ENDPOINT_URL."""
    store = S3Server()
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, store.wrap(application), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    store.endpoint = f"http://127.0.0.1:{server.server_port}"
    S3FileSystem.clear_instance_cache()  # an instance keeps its endpoint and its credentials
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=store.endpoint, **keys)
    client.create_bucket(Bucket=BUCKET)
    for name, value in faults.items():
        setattr(store, name, value)
    try:
        yield store
    finally:
        store.fail_every, store.delay = 0, 0.0
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for each in page.get("Contents", ()):
                client.delete_object(Bucket=BUCKET, Key=each["Key"])
        server.shutdown()
        thread.join()
        S3FileSystem.clear_instance_cache()
