"""Blob storage: block blobs in containers of accounts, reached by shared access signatures, the account's key or a token for storage.

Contents lie on disk under names of their own, so that a blob may be called anything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.azure_service.routes import Refusal, Reply, Request, route

SIGNATURES_LAST = timedelta(hours=12)
NONE: Mapping[str, str] = {}
_META = "x-ms-meta-"


@dataclass
class Blob:
    """One stored blob."""

    file: Path
    size: int
    md5: str
    modified: float
    etag: str
    media_type: str
    metadata: dict[str, str] = field(default_factory=dict)


class Blobs:
    """All accounts. A container is called `account/container`."""

    def __init__(self, folder: Path, page_size: int, check_token: Callable[[Request], None] = lambda request: None) -> None:
        self._folder, self.page_size, self._check_token = folder, page_size, check_token
        self._folder.mkdir(parents=True, exist_ok=True)
        self._key = uuid.uuid4().bytes
        self._containers: dict[str, dict[str, Blob]] = {}
        self._blocks: dict[tuple[str, str], dict[str, bytes]] = {}
        self._lock = threading.Lock()

    # ---- for the other handlers --------------------------------------------------------------------------------------------------

    def make_container(self, container: str) -> None:
        with self._lock:
            self._containers.setdefault(container, {})

    @property
    def account_key(self) -> str:
        """Of every account."""
        return base64.b64encode(self._key).decode()

    def put(
        self, container: str, name: str, content: bytes, media_type: str = "application/octet-stream", metadata: Mapping[str, str] = NONE
    ) -> Blob:
        file = self._folder / uuid.uuid4().hex
        file.write_bytes(content)
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        blob = Blob(file, len(content), md5, time.time(), f'"0x{uuid.uuid4().hex[:16].upper()}"', media_type, dict(metadata))
        with self._lock:
            before = self._containers[container].get(name)
            self._containers[container][name] = blob
        if before:
            before.file.unlink(missing_ok=True)
        return blob

    def get(self, container: str, name: str) -> bytes:
        return self.blob(container, name).file.read_bytes()

    def blob(self, container: str, name: str) -> Blob:
        try:
            return self._containers[container][name]
        except KeyError:
            raise Refusal(404, "BlobNotFound", f"The specified blob does not exist: {container}/{name}") from None

    def names(self, container: str, prefix: str = "") -> list[str]:
        with self._lock:
            return sorted(name for name in self._containers.get(container, {}) if name.startswith(prefix))

    def signature(self, container: str, name: str = "", permissions: str = "r", lasts: timedelta = SIGNATURES_LAST) -> str:
        """A shared access signature for one blob, or for the container where `name` is empty, as a query string."""
        ends = (datetime.now(UTC) + lasts).strftime("%Y-%m-%dT%H:%M:%SZ")
        resource = "b" if name else "c"
        signature = quote(self._sign(container, name, permissions, ends), safe="")
        return f"sv=2019-07-07&sr={resource}&sp={permissions}&se={quote(ends, safe='')}&sig={signature}"

    def address(self, container: str, name: str, permissions: str = "r") -> str:
        """The signed address of a blob."""
        account, _, its_name = container.partition("/")
        return f"https://{account}.blob.core.windows.net/{its_name}/{quote(name)}?{self.signature(container, name, permissions)}"

    def _sign(self, *parts: str) -> str:
        return base64.b64encode(hmac.new(self._key, "\n".join(parts).encode(), hashlib.sha256).digest()).decode()

    # ---- routes ---------------------------------------------------------------------------------------------------------------

    def _allowed(self, request: Request, container: str, name: str, needs: str) -> str:
        """The container, when the signature allows one of the permissions `needs`."""
        whole = f"{request.host.partition('.')[0]}/{container}"
        if request.headers.get("authorization"):
            self._known(request)
            if whole not in self._containers:
                raise Refusal(404, "ContainerNotFound", f"The specified container does not exist: {container}")
            return whole
        permissions, ends, resource = request.asked("sp"), request.asked("se"), request.asked("sr")
        signed = self._sign(whole, name if resource == "b" else "", permissions, ends)
        if not request.asked("sig") or not hmac.compare_digest(signed, request.asked("sig")):
            raise Refusal(403, "AuthenticationFailed", "Server failed to authenticate the request: the signature is not valid.")
        if ends < datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"):
            raise Refusal(403, "AuthenticationFailed", f"Signature not valid in the specified time frame: expired {ends}.")
        if not set(needs) & set(permissions):
            raise Refusal(403, "AuthorizationPermissionMismatch", f"The signature allows {permissions}, not {needs}.")
        if whole not in self._containers:
            raise Refusal(404, "ContainerNotFound", f"The specified container does not exist: {container}")
        return whole

    def _known(self, request: Request) -> None:
        """Raises Refusal unless the request is signed with the account's key, or bears a token for storage."""
        kind, _, credential = request.headers["authorization"].partition(" ")
        if kind == "Bearer":
            return self._check_token(request)
        account = request.host.partition(".")[0]
        signed = base64.b64encode(hmac.new(self._key, shared_key_text(request, account).encode(), hashlib.sha256).digest()).decode()
        if kind != "SharedKey" or not hmac.compare_digest(credential, f"{account}:{signed}"):
            raise Refusal(403, "AuthenticationFailed", "Server failed to authenticate the request: the signature of the key is not valid.")

    @route("PUT", "/{container}/{name*}", host="blob")
    def put_blob(self, request: Request, container: str, name: str) -> Reply:
        whole = self._allowed(request, container, name, "cw")
        kind = request.asked("comp")
        if kind == "block":
            with self._lock:
                self._blocks.setdefault((whole, name), {})[request.asked("blockid")] = request.body
            return Reply(b"", 201, _headers())
        if kind == "blocklist":
            blocks = self._blocks.pop((whole, name), {})
            wanted = [unquote(element.text or "") for element in ElementTree.fromstring(request.body)]
            if missing := [block for block in wanted if block not in blocks]:
                raise Refusal(400, "InvalidBlockList", f"The specified block list is invalid: {missing}")
            content = b"".join(blocks[block] for block in wanted)
        elif kind == "metadata":
            blob = self.blob(whole, name)
            blob.metadata = _metadata(request)
            return Reply(b"", 200, _headers(ETag=blob.etag))
        elif kind:
            raise Refusal(400, "UnsupportedQueryParameter", f"comp={kind} is not played here.")
        else:
            if request.headers.get("x-ms-blob-type") != "BlockBlob":
                raise Refusal(400, "UnsupportedHeader", "Only block blobs are played here.")
            content = request.body
        if request.headers.get("if-none-match") == "*" and name in self._containers[whole]:
            raise Refusal(409, "BlobAlreadyExists", "The specified blob already exists.")
        media_type = request.headers.get("x-ms-blob-content-type", "application/octet-stream")
        blob = self.put(whole, name, content, media_type, _metadata(request))
        return Reply(b"", 201, _headers(ETag=blob.etag, **{"Last-Modified": formatdate(blob.modified, usegmt=True)}))

    @route("HEAD", "/{container}/{name*}", host="blob")
    def head_blob(self, request: Request, container: str, name: str) -> Reply:
        blob = self.blob(self._allowed(request, container, name, "r"), name)
        return Reply(b"", 200, _of(blob) | {"Content-Length": str(blob.size)}, blob.media_type)

    @route("GET", "/{container}/{name*}", host="blob")
    def get_blob(self, request: Request, container: str, name: str) -> Reply:
        whole = self._allowed(request, container, name, "r")
        if request.asked("comp") == "blocklist":
            return self._block_list(whole, name)
        blob = self.blob(whole, name)
        if request.headers.get("if-match", blob.etag) != blob.etag:
            raise Refusal(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
        wanted = request.headers.get("x-ms-range") or request.headers.get("range", "")
        if not wanted:
            return Reply(blob.file.read_bytes(), 200, _of(blob), blob.media_type)
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(end) if end else blob.size - 1, blob.size - 1)
        if first >= blob.size:
            raise Refusal(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        with open(blob.file, "rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        part = {"Content-Range": f"bytes {first}-{last}/{blob.size}", "x-ms-blob-content-md5": blob.md5}
        headers = _of(blob)
        del headers["Content-MD5"]  # of a range it would be the range's, for who asks for it
        return Reply(content, 206, headers | part, blob.media_type)

    def _block_list(self, container: str, name: str) -> Reply:
        """The blocks that came, and that no blob was made of yet."""
        blocks = self._blocks.get((container, name))
        if blocks is None:
            self.blob(container, name)
        items = "".join(f"<Block><Name>{escape(id_)}</Name><Size>{len(block)}</Size></Block>" for id_, block in (blocks or {}).items())
        text = f'<?xml version="1.0" encoding="utf-8"?><BlockList><UncommittedBlocks>{items}</UncommittedBlocks></BlockList>'
        return Reply(text.encode(), 200, _headers(), "application/xml")

    @route("DELETE", "/{container}/{name*}", host="blob")
    def delete_blob(self, request: Request, container: str, name: str) -> Reply:
        whole = self._allowed(request, container, name, "d")
        self.blob(whole, name)
        with self._lock:
            self._containers[whole].pop(name).file.unlink(missing_ok=True)
        return Reply(b"", 202, _headers())

    @route("GET", "/{container}", host="blob")
    def list_blobs(self, request: Request, container: str) -> Reply:
        whole = self._allowed(request, container, "", "l" if request.asked("comp") == "list" else "r")
        if request.asked("comp") != "list":
            return Reply(b"", 200, _headers())
        prefix, delimiter, marker = request.asked("prefix"), request.asked("delimiter"), request.asked("marker")
        names = self.names(whole, prefix)
        entries: dict[str, str | None] = {}  # name of a blob, or of a folder: None
        for name in names:
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            entries[name if cut < 0 else name[: cut + len(delimiter)]] = name if cut < 0 else None
        listed = [entry for entry in entries if entry >= marker]
        size = min(int(request.asked("maxresults", "5000")), self.page_size)
        following = listed[size] if len(listed) > size else ""
        body = "".join(_in_list(entry, self.blob(whole, entry) if entries[entry] else None) for entry in listed[:size])
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://{escape(request.host)}/" '
            f'ContainerName="{escape(container)}"><Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>'
            f"<Blobs>{body}</Blobs><NextMarker>{escape(following)}</NextMarker></EnumerationResults>"
        )
        return Reply(text.encode(), 200, _headers(), "application/xml")

    @route("HEAD", "/{container}", host="blob")
    def head_container(self, request: Request, container: str) -> Reply:
        self._allowed(request, container, "", "rl")
        return Reply(b"", 200, _headers())


def _headers(**more: str) -> dict[str, str]:
    return {"x-ms-request-id": str(uuid.uuid4()), "x-ms-version": "2019-07-07", "x-ms-request-server-encrypted": "true"} | more


def _metadata(request: Request) -> dict[str, str]:
    return {name.removeprefix(_META): value for name, value in request.headers.items() if name.startswith(_META)}


def shared_key_text(request: Request, account: str) -> str:
    """What the account's key signs, as the storage service's reference has it: "Authorize with Shared Key"."""
    names = (
        "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date", "if-modified-since", "if-match",
        "if-none-match", "if-unmodified-since", "range",
    )  # fmt: skip
    values = [request.headers.get(name, "") for name in names]
    values[2] = "" if values[2] == "0" else values[2]
    own = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-ms-"))
    query = sorted((name.lower(), ",".join(sorted(given))) for name, given in request.query.items())
    resource = f"/{account}{request.path}" + "".join(f"\n{name}:{value}" for name, value in query)
    return "\n".join([request.method, *values, *(f"{name}:{value}" for name, value in own), resource])


def _of(blob: Blob) -> dict[str, str]:
    return (
        _headers(ETag=blob.etag)
        | {f"{_META}{name}": value for name, value in blob.metadata.items()}
        | {
            "Last-Modified": formatdate(blob.modified, usegmt=True),
            "Content-MD5": blob.md5,
            "Accept-Ranges": "bytes",
            "x-ms-blob-type": "BlockBlob",
            "x-ms-lease-status": "unlocked",
            "x-ms-lease-state": "available",
            "x-ms-creation-time": formatdate(blob.modified, usegmt=True),
            "x-ms-server-encrypted": "true",
        }
    )


def _in_list(name: str, blob: Blob | None) -> str:
    if blob is None:
        return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"
    modified = formatdate(blob.modified, usegmt=True)
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{modified}</Creation-Time><Last-Modified>{modified}</Last-Modified>"
        f"<Etag>{escape(blob.etag)}</Etag><Content-Length>{blob.size}</Content-Length><Content-Type>{escape(blob.media_type)}</Content-Type>"
        f"<Content-Encoding/><Content-Language/><Content-MD5>{blob.md5}</Content-MD5><BlobType>BlockBlob</BlobType>"
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties></Blob>"
    )
