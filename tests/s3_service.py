"""As much of S3 as pyarrow's client asks for, on a loopback port, with the objects in a dict.

The client is the real one, aws-sdk-cpp inside pyarrow: signed requests, uploads in parts, chunked
bodies with trailing checksums. Signatures are not verified, only whose key they were made with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as Xml

Reply = tuple[int, bytes]


@dataclass
class Store:
    """``objects`` by bucket and key, as in ``bucket/a/b``; whoever signs with ``key`` may in."""

    endpoint: str = ""
    key: str = "the-key"
    buckets: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def reply(self, method: str, path: str, query: dict[str, str], body: bytes) -> Reply:
        bucket, _, key = path.partition("/")
        if not key:
            if "delete" in query:
                return self._delete(bucket, body)
            return self._bucket(method, bucket, query)
        if bucket not in self.buckets:
            return _refusal(404, "NoSuchBucket")
        if "uploadId" in query or "uploads" in query:
            return self._in_parts(method, path, query, body)
        match method:
            case "PUT":
                self.objects[path] = body
            case "DELETE":
                self.objects.pop(path, None)
                return 204, b""
        if path not in self.objects:
            return _refusal(404, "NoSuchKey")
        return 200, b"" if method == "PUT" else self.objects[path]

    def _bucket(self, method: str, bucket: str, query: dict[str, str]) -> Reply:
        if method == "PUT":
            self.buckets.add(bucket)
        if bucket not in self.buckets:
            return _refusal(404, "NoSuchBucket")
        return (200, self._listed(bucket, query)) if "list-type" in query else (200, b"")

    def _delete(self, bucket: str, body: bytes) -> Reply:
        """Several at once."""
        for asked in Xml.fromstring(body).iter():
            if asked.tag.endswith("Key"):
                self.objects.pop(f"{bucket}/{asked.text}", None)
        return 200, _xml("DeleteResult", {})

    def _in_parts(self, method: str, path: str, query: dict[str, str], body: bytes) -> Reply:
        """An object is seen once its parts are put together, not before."""
        if "uploads" in query:
            upload = str(len(self.parts))
            self.parts[upload] = {}
            return 200, _xml("InitiateMultipartUploadResult", {"UploadId": upload})
        upload = query["uploadId"]
        if method == "PUT":
            self.parts[upload][int(query["partNumber"])] = body
        elif method == "POST":
            parts = self.parts.pop(upload)
            self.objects[path] = b"".join(parts[number] for number in sorted(parts))
            return 200, _xml("CompleteMultipartUploadResult", {"ETag": '"e"'})
        else:
            self.parts.pop(upload, None)
        return 200, b""

    def _listed(self, bucket: str, query: dict[str, str]) -> bytes:
        """What begins with a prefix; what has a delimiter after it only up to that, and once."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        root = Xml.Element("ListBucketResult")
        Xml.SubElement(root, "IsTruncated").text = "false"
        folders = set()
        for path in sorted(self.objects):
            key = path.removeprefix(f"{bucket}/")
            if key == path or not key.startswith(prefix):
                continue
            rest, found, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            if found and prefix + rest + found not in folders:
                folders.add(prefix + rest + found)
                Xml.SubElement(Xml.SubElement(root, "CommonPrefixes"), "Prefix").text = (
                    prefix + rest + found
                )
            elif not found:
                entry = Xml.SubElement(root, "Contents")
                Xml.SubElement(entry, "Key").text = key
                Xml.SubElement(entry, "Size").text = str(len(self.objects[path]))
                Xml.SubElement(entry, "LastModified").text = "2026-01-01T00:00:00.000Z"
        Xml.SubElement(root, "KeyCount").text = str(len(root) - 1)
        return Xml.tostring(root)


@contextmanager
def storing() -> Iterator[Store]:
    """A store that answers until the block ends."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits for a delayed acknowledgment

        def _answer(self) -> None:
            url = urlsplit(self.path)
            query = {k: v[-1] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
            body = self._body()
            if f"Credential={store.key}/" in self.headers.get("Authorization", ""):
                path = unquote(url.path).removeprefix("/")
                status, answer = store.reply(self.command, path, query, body)
            else:
                status, answer = _refusal(403, "InvalidAccessKeyId")
            self._send(status, answer)

        def _send(self, status: int, answer: bytes) -> None:
            asked = self.headers.get("Range")
            if status == 200 and asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                answer, status = answer[int(first) : int(last) + 1], 206
            self.send_response(status)
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        def _body(self) -> bytes:
            file: BinaryIO = self.rfile  # type: ignore[assignment]
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b"".join(_chunks(file))
            else:
                body = file.read(int(self.headers.get("Content-Length") or 0))
            if "aws-chunked" in self.headers.get("Content-Encoding", ""):
                from io import BytesIO

                body = b"".join(_chunks(BytesIO(body)))
            return body

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing to read there."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True  # pyarrow's client keeps its connections open
        store.endpoint = f"127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Each with its size in hex before it, up to one of size zero and the trailer after that."""
    while size := int(file.readline().split(b";")[0], 16):
        yield file.read(size)
        file.readline()
    while file.readline().strip():
        pass


def _refusal(status: int, code: str) -> Reply:
    return status, _xml("Error", {"Code": code, "Message": code})


def _xml(name: str, fields: dict[str, str]) -> bytes:
    root = Xml.Element(name)
    for key, value in fields.items():
        Xml.SubElement(root, key).text = value
    return Xml.tostring(root)
