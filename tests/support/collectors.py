"""OTLP receivers, over gRPC and over HTTP, from opentelemetry-proto's own services."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,  # pyright: ignore[reportUnknownVariableType]  # generated
)

if TYPE_CHECKING:
    from collections.abc import Generator


class Received:
    """What a collector got."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.refuse = 0
        """So many requests to come are refused."""
        self.port = 0

    def take(self, request: Any, headers: dict[str, str]) -> bool:
        """Keep it; False = refuse it."""
        if self.refuse:
            self.refuse -= 1
            return False
        self.requests.append(request)
        self.headers.append(headers)
        return True

    def spans(self) -> list[tuple[dict[str, str], Any]]:
        """(attributes of the resource, span) of all."""
        return [
            ({a.key: a.value.string_value for a in r.resource.attributes}, span)
            for request in self.requests
            for r in request.resource_spans
            for scope in r.scope_spans
            for span in scope.spans
        ]


class _Servicer(TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request: Any, context: Any) -> Any:
        headers = {k: str(v) for k, v in context.invocation_metadata()}
        if not self._received.take(request, headers):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not today")
        return ExportTraceServiceResponse()


@contextmanager
def grpc_collector(port: int = 0) -> Generator[Received]:
    """Over gRPC, on loopback."""
    received = Received()
    server: Any = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(_Servicer(received), server)
    received.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield received
    finally:
        server.stop(0).wait()


@contextmanager
def http_collector(port: int = 0) -> Generator[Received]:
    """Over HTTP, on loopback; takes /v1/traces alone."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            good = self.path == "/v1/traces"
            request = ExportTraceServiceRequest.FromString(body)
            headers = {k.lower(): v for k, v in self.headers.items()}
            good = good and received.take(request, headers)
            self.send_response(200 if good else 400)
            self.end_headers()

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    received.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
