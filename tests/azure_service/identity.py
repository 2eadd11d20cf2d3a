"""Sign-in of a service principal, or of a person by a device code or a browser; and the resource manager: which subscriptions and
workspaces there are."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from tests.azure_service.routes import API, REGION, Refusal, Reply, Request, route

if TYPE_CHECKING:
    from tests.azure_service.cloud import Cloud

TENANT = "22222222-2222-2222-2222-222222222222"
CLIENT = "33333333-3333-3333-3333-333333333333"
PERSON = "44444444-4444-4444-4444-444444444444"
SECRET = "the-secret-of-the-stand-in"
SUBSCRIPTION = "00000000-0000-0000-0000-0000000000aa"
GROUP = "rg-batch"
VM_SIZES = {"STANDARD_DS3_V2": (4, 0, 14.0, 28672), "STANDARD_NC6S_V3": (6, 1, 112.0, 344064)}
USAGES = {
    "Total Cluster Dedicated Regional vCPUs": (4, 100), "Total Cluster LowPriority Regional vCPUs": (0, 50),
    "Standard DSv2 Family Cluster Dedicated vCPUs": (4, 10), "Standard NCSv3 Family Cluster Dedicated vCPUs": (0, 0),
}  # fmt: skip
_AUDIENCES = {
    "management": ("https://management.azure.com", "https://management.core.windows.net"),
    "blob": ("https://storage.azure.com",),
    "ml": ("https://ml.azure.com",),
    "api": ("https://management.azure.com", "https://management.core.windows.net", "https://ml.azure.com"),
}
_IN_SUBSCRIPTION = "/subscriptions/{subscription}"
_WORKSPACES = "/providers/Microsoft.MachineLearningServices/workspaces"


class Identity:
    """Tokens, and who may see what. A token lasts `lasts` seconds."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = threading.Lock()
        self._valid_until: dict[str, float] = {}
        self._device_codes: dict[str, str] = {}  # what a person enters -> what the program asks with
        self._scopes: dict[str, str] = {}  # by what the program asks with
        self._confirmed: set[str] = set()
        self._nonces: dict[str, str] = {}  # by authorization code
        self.lasts = 3600.0

    def expire_tokens(self) -> None:
        """From now on no token given so far is taken."""
        with self._lock:
            self._valid_until.clear()

    def check(self, request: Request) -> None:
        """Raises Refusal unless the request bears a token of ours that has not expired."""
        kinds = {".blob.core.windows.net": "blob", ".inference.ml.azure.com": "ml", ".api.azureml.ms": "api"}
        kind = next((kind for end, kind in kinds.items() if request.host.endswith(end)), "management")
        self.check_token(request.headers.get("authorization", "").removeprefix("Bearer "), kind)

    def check_token(self, token: str, kind: str) -> None:
        """`kind` is what it has to be for: `management`, `blob` or `ml`. Raises Refusal."""
        if self._valid_until.get(token, 0) < time.time():
            message = "Bearer token not provided." if not token else "The access token has expired or is not valid."
            challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT}", error="invalid_token"'
            raise Refusal(401, "AuthenticationFailed", message, {"WWW-Authenticate": challenge})
        audience, wanted = audience_of(token), _AUDIENCES[kind]
        if audience not in wanted:
            message = f"The access token has been obtained for wrong audience or resource '{audience}'. It should be one of '{wanted}'."
            raise Refusal(401, "InvalidAuthenticationTokenAudience", message)

    @route("GET", "/common/discovery/instance", host="login")
    def instances(self, request: Request) -> dict[str, Any]:
        host = "login.microsoftonline.com"
        return {
            "tenant_discovery_endpoint": f"https://{host}/common/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }

    @route("GET", "/{tenant}/v2.0/.well-known/openid-configuration", host="login")
    def openid(self, request: Request, tenant: str) -> dict[str, str]:
        if tenant not in (TENANT, "organizations", "common"):
            raise Refusal(400, "invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found.")
        authority = f"https://login.microsoftonline.com/{tenant}"
        return {
            "token_endpoint": f"{authority}/oauth2/v2.0/token",
            "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{authority}/oauth2/v2.0/devicecode",
            "issuer": f"{authority}/v2.0",
        }

    @route("POST", "/{tenant}/oauth2/v2.0/token", host="login")
    def token(self, request: Request, tenant: str) -> Reply | dict[str, Any]:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        kind = form.get("grant_type", "").rpartition(":")[2]
        if kind == "client_credentials":
            return self._for_a_program(form)
        if kind == "device_code" and form.get("device_code") not in self._confirmed:
            return _refused("authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending.")
        if kind in ("device_code", "authorization_code", "refresh_token"):
            return self._for_a_person(form)
        return _refused("unsupported_grant_type", f"AADSTS70003: The grant type {kind} is not played here.")

    def _for_a_program(self, form: dict[str, str]) -> Reply | dict[str, Any]:
        if form.get("client_id") != CLIENT:
            return _refused("unauthorized_client", f"AADSTS700016: Application '{form.get('client_id')}' was not found in the directory.")
        if form.get("client_secret") != SECRET:
            return _refused("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
        return self._given(form, oid=CLIENT, appid=CLIENT)

    def _for_a_person(self, form: dict[str, str]) -> dict[str, Any]:
        claims = {"aud": form["client_id"], "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "iat": int(time.time())}
        claims |= {"exp": int(time.time() + self.lasts), "oid": PERSON, "tid": TENANT, "preferred_username": "analyst@example.org"}
        if nonce := self._nonces.get(form.get("code", "")):
            claims["nonce"] = nonce
        return self._given(form, oid=PERSON, name="Analyst") | {
            "scope": form.get("scope", ""),
            "refresh_token": uuid.uuid4().hex,
            "id_token": _token(claims),
            "client_info": _encoded({"uid": PERSON, "utid": TENANT}),
        }

    def _given(self, form: dict[str, str], **who: str) -> dict[str, Any]:
        ends = time.time() + self.lasts
        scopes = form.get("scope") or self._scopes.get(form.get("device_code", ""), "")
        asked = next((scope for scope in scopes.split() if "://" in scope), "").removesuffix("/.default")
        audience = asked.removesuffix("/user_impersonation").rstrip("/")
        token = _token({"aud": audience, "tid": TENANT, "exp": int(ends), "jti": uuid.uuid4().hex} | who)
        with self._lock:
            self._valid_until[token] = ends
        return {"token_type": "Bearer", "expires_in": int(self.lasts), "ext_expires_in": int(self.lasts), "access_token": token}

    @route("POST", "/{tenant}/oauth2/v2.0/devicecode", host="login")
    def device_code(self, request: Request, tenant: str) -> dict[str, Any]:
        page, code = "https://microsoft.com/devicelogin", uuid.uuid4().hex[:9].upper()
        self._device_codes[code] = uuid.uuid4().hex
        self._scopes[self._device_codes[code]] = parse_qs(request.body.decode()).get("scope", [""])[0]
        message = f"To sign in, use a web browser to open the page {page} and enter the code {code} to authenticate."
        times = {"expires_in": 900, "interval": 1}
        return {"user_code": code, "device_code": self._device_codes[code], "verification_uri": page, "message": message} | times

    def confirm_device_code(self, code: str) -> None:
        """What a person does who enters the code on that page."""
        self._confirmed.add(self._device_codes[code])

    @route("GET", "/{tenant}/oauth2/v2.0/authorize", host="login")
    def authorize(self, request: Request, tenant: str) -> Reply:
        """A person signs in at once, and the browser is sent back with a code."""
        code = uuid.uuid4().hex
        self._nonces[code] = request.asked("nonce")
        answer = {"code": code, "state": request.asked("state"), "session_state": uuid.uuid4().hex}
        return Reply(b"", 302, {"Location": f"{request.asked('redirect_uri')}?{urlencode(answer)}"})

    @route("GET", "/subscriptions", host="management")
    def subscriptions(self, request: Request) -> dict[str, Any]:
        return {
            "value": [
                {
                    "id": f"/subscriptions/{SUBSCRIPTION}",
                    "subscriptionId": SUBSCRIPTION,
                    "displayName": "Stand-in",
                    "state": "Enabled",
                    "tenantId": TENANT,
                }
            ]
        }

    @route("GET", f"{_IN_SUBSCRIPTION}/resourceGroups/{{group}}{_WORKSPACES}", host="management")
    def workspaces_of_group(self, request: Request, subscription: str, group: str) -> dict[str, Any]:
        return {"value": [workspace.described() for workspace in self._cloud.workspaces.values()]}

    @route("GET", f"{_IN_SUBSCRIPTION}{_WORKSPACES}", host="management")
    def workspaces_of_subscription(self, request: Request, subscription: str) -> dict[str, Any]:
        return {"value": [workspace.described() for workspace in self._cloud.workspaces.values()]}

    @route("GET", f"{_IN_SUBSCRIPTION}/resources", host="management")
    def resources(self, request: Request, subscription: str) -> dict[str, Any]:
        """What `Workspace.list` asks for: the workspaces, by a filter that asks for no other kind."""
        names = ("id", "name", "type", "location", "tags")
        return {
            "value": [
                {key: description[key] for key in names}
                for description in (workspace.described() for workspace in self._cloud.workspaces.values())
            ]
        }

    @route("GET", f"{_IN_SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/{{region}}/vmSizes", host="management")
    def sizes(self, request: Request, subscription: str, region: str) -> dict[str, Any]:
        keys = ("vCPUs", "gpus", "memoryGB", "maxResourceVolumeMB")
        sizes = [{"name": name} | dict(zip(keys, numbers, strict=True)) for name, numbers in VM_SIZES.items()]
        return {"amlCompute": sizes, "value": sizes}  # by the version of the interface that SDK v1 asks for, and by later ones

    @route("GET", f"{_IN_SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/{{region}}/usages", host="management")
    def usages(self, request: Request, subscription: str, region: str) -> dict[str, Any]:
        """As the REST reference has it: Usages, List."""
        return {"value": [{"name": {"value": name, "localizedValue": name}, "unit": "Count", "currentValue": used, "limit": limit}
                          for name, (used, limit) in USAGES.items()]}  # fmt: skip

    @route("GET", "/discovery")
    def discovery(self, request: Request) -> dict[str, str]:
        names = ("api", "experimentation", "history", "hyperdrive", "modelmanagement", "pipelines", "onnx", "inferencing")
        return dict.fromkeys(names, API) | {"studio": "https://ml.azure.com", "region": REGION}


def audience_of(token: str) -> str:
    """What a token of ours is for."""
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["aud"])


def _encoded(values: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def _token(claims: dict[str, Any]) -> str:
    return ".".join((_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "c2ln"))


def _refused(error: str, message: str, status: int = 400) -> Reply:
    return Reply({"error": error, "error_description": message, "error_codes": [], "correlation_id": str(uuid.uuid4())}, status)
