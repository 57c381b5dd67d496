"""A small server that speaks as much of S3 as is used: objects, ranges, uploads in parts, lists, signatures."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "blobs"
ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret-that-must-not-be-shown"


@dataclass
class S3:
    """The server's state. `objects`: by key. `uploads`: of those that are under way, the parts by number."""

    url: str
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    #: Statuses that the next requests are answered with.
    failures: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    #: What was wrong with signatures.
    forged: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    state: S3

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def handle_one_request(self) -> None:
        """Clients may hang up in the middle."""
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_any(self) -> None:
        """Every method."""
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True  # the client has hung up in the middle
            return
        with self.state.lock:
            self.state.requests.append(f"{self.command} {self.path}")
            if self.state.failures:
                self.answer(self.state.failures.pop(0), b"<Error><Code>Injected</Code></Error>")
                return
            wrong = self.check_signature(parts.path, parts.query, body)
            if wrong:
                self.state.forged.append(wrong)
                self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
                return
            bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
            if bucket != BUCKET:
                self.answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            elif not key:
                self.of_bucket(body)
            elif "uploads" in self.query or "uploadId" in self.query:
                self.of_upload(key, body)
            else:
                self.of_object(key, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815 - the names that are called

    def of_bucket(self, body: bytes) -> None:
        objects = self.state.objects
        if self.command == "POST":
            assert "delete" in self.query
            named = re.findall(rb"<Key>.*?</Key>", body)
            for element in named:
                objects.pop(element[5:-6].decode(), None)
            rows = b"".join(b"<Deleted>%b</Deleted>" % element for element in named)
            self.answer(200, b"<DeleteResult>%b</DeleteResult>" % rows)
            return
        after = self.query.get("continuation-token") or self.query.get("start-after", "")
        prefix = self.query.get("prefix", "")
        size = int(self.query.get("max-keys", "1000"))
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[key])}</Size>"
            "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>"
            for key in keys[:size]
        )
        more = len(keys) > size
        token = f"<NextContinuationToken>{escape(keys[size - 1])}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        self.answer(200, text.encode())

    def of_upload(self, key: str, body: bytes) -> None:
        uploads = self.state.uploads
        if "uploads" in self.query:
            name = f"upload-{len(self.state.requests)}"
            uploads[name] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            self.answer(200, text.encode())
            return
        name = self.query["uploadId"]
        if name not in uploads:
            self.answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        elif self.command == "PUT":
            uploads[name][int(self.query["partNumber"])] = body
            self.answer(200, b"", {"etag": f'"{hashlib.md5(body).hexdigest()}"'})
        elif self.command == "POST":
            parts = uploads.pop(name)
            assert all(len(parts[number]) >= 5 << 20 for number in sorted(parts)[:-1]), "a part is too small"
            self.state.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self.answer(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
        else:
            del uploads[name]
            self.answer(204, b"")

    def of_object(self, key: str, body: bytes) -> None:
        objects = self.state.objects
        if self.command == "PUT":
            objects[key] = body
            self.answer(200, b"", {"etag": '"e"'})
        elif self.command == "DELETE":
            objects.pop(key, None)
            self.answer(204, b"")
        elif key not in objects:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self.give(objects[key])

    def give(self, content: bytes) -> None:
        headers = {"etag": '"e"', "last-modified": formatdate(1767323045, usegmt=True)}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted is None:
            self.answer(200, content, headers)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(content)) + 1
        if start >= len(content):
            self.answer(416, b"<Error><Code>InvalidRange</Code></Error>")
            return
        part = content[start:end]
        headers["content-range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        self.answer(206, part, headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def check_signature(self, path: str, query: str, body: bytes) -> str | None:
        """What is wrong with the request's AWS Signature Version 4; None: nothing."""
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?"
            r"Signature=([0-9a-f]{64})",
            self.headers.get("authorization", ""),
        )
        if match is None:
            return "no signature"
        access, day, region, signed, signature = match.groups()
        hashed = self.headers.get("x-amz-content-sha256", "")
        if hashed != "UNSIGNED-PAYLOAD" and hashed != hashlib.sha256(body).hexdigest():
            return "the body is another one"
        pairs = sorted(parse_qsl(query, keep_blank_values=True))
        canonical = "\n".join(
            [
                self.command,
                path,
                "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs),
                *(f"{name}:{' '.join(self.headers.get(name, '').split())}" for name in signed.split(";")),
                "",
                signed,
                hashed,
            ]
        )
        scope = f"{day}/{region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", self.headers.get("x-amz-date", ""), scope, digest])
        key = f"AWS4{SECRET_KEY}".encode()
        for step in (day, region, "s3", "aws4_request", text):
            key = hmac.digest(key, step.encode(), "sha256")
        return None if access == ACCESS_KEY and hmac.compare_digest(key.hex(), signature) else "a wrong signature"


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """A server with one empty bucket, until the block is left."""
    handler = type("Handler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.state = state = S3(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
